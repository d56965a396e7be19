"""The ways to Redis, on a Redis of their own: what each mode does to a client."""

from collections.abc import Iterator

import pytest
from chaos.links import Links
from chaos.proxy import Mode
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from support import eventually

pytestmark = pytest.mark.process

NAME = "gpu0"
COUNT = "return redis.call('INCR', KEYS[1])"


@pytest.fixture
def links(redis_url: str) -> Iterator[Links]:
    made = Links(int(redis_url.rpartition(":")[2].partition("/")[0]), [NAME], 1, {})
    yield made
    made.close()


@pytest.fixture
def client(links: Links, redis: Redis) -> Iterator[Redis]:
    """Through the proxy, with redis-py's repeated calls; Redis is empty."""
    del redis
    with connected(links, retries=20) as made:
        yield made


def connected(links: Links, *, retries: int) -> Redis:
    return Redis.from_url(
        links.url(NAME), socket_timeout=1, retry=Retry(NoBackoff(), retries), decode_responses=True
    )


def run_script(client: Redis, times: int) -> None:
    script = client.register_script(COUNT)
    for _ in range(times):
        script(keys=["n"])


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except (RedisConnectionError, RedisTimeoutError):
        return False


def test_open_passes_all(client: Redis) -> None:
    run_script(client, 50)
    assert client.get("n") == "50"


def test_cut_refuses_old_and_new_connections_until_it_is_open(links: Links) -> None:
    with connected(links, retries=0) as client:
        assert answers(client)
        links.turn(NAME, "cut")
        eventually(lambda: not answers(client))
        assert not answers(client)
        links.turn(NAME, "open")
        eventually(lambda: answers(client))


def test_stalled_tells_nobody_and_delivers_afterwards(links: Links, redis: Redis) -> None:
    with connected(links, retries=0) as client, connected(links, retries=0) as other:
        assert answers(client)
        assert answers(other)
        links.turn(NAME, "stalled")
        eventually(lambda: not answers(other))
        with pytest.raises(RedisTimeoutError):
            client.set("late", "1")
        assert redis.get("late") is None
        links.turn(NAME, "open")
        eventually(lambda: redis.get("late") == b"1")


@pytest.mark.parametrize("mode", ["lossy", "late"])
def test_scripts_run_twice(client: Redis, links: Links, mode: Mode) -> None:
    """Each call is answered once; those whose reply was lost, or that came late, ran once more."""
    links.turn(NAME, mode)
    run_script(client, 50)
    eventually(lambda: int(str(client.get("n"))) > 50)

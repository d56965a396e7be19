"""What a real Valkey tells of itself."""

from collections.abc import Iterator

import pytest
from redis import Redis

from preble.broker import redis_server_facts
from preble.broker.facts import ServerFacts
from preble.broker.redis_facts import collect_facts
from preble.clock import SystemClock
from preble.errors import BrokerUnavailable, ConfigError

pytestmark = pytest.mark.anyio


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


async def look(redis_url: str) -> ServerFacts:
    return (await collect_facts(redis_url, "blue", SystemClock())).server


async def test_a_wrong_url_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError):
        await look("http://nowhere")


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(BrokerUnavailable):
        await look("redis://127.0.0.1:1/0")


async def test_a_sound_server(redis_url: str) -> None:
    server = await look(redis_url)

    assert (server.software, server.mode, server.role) == ("Valkey", "standalone", "master")
    assert int(server.version.split(".")[0]) >= 8
    assert (server.is_append_only, server.appendfsync) == (True, "everysec")
    assert (server.maxmemory_bytes, server.maxmemory_policy) == (0, "noeviction")
    assert 0 < server.used_memory_bytes < server.system_memory_bytes
    assert (server.failing_writes, server.replicas, server.evicted_keys) == ((), 0, 0)
    assert len(server.round_trips_ms) == 50
    assert all(each > 0 for each in server.round_trips_ms)


@pytest.fixture
def config(redis: Redis) -> Iterator[Redis]:
    """A server whose settings are put back."""
    names = (
        "appendonly",
        "appendfsync",
        "maxmemory",
        "maxmemory-policy",
        "slowlog-log-slower-than",
    )
    kept = {name: redis.config_get(name)[name] for name in names}
    yield redis
    for name, value in kept.items():
        redis.config_set(name, value or "")
    redis.slowlog_reset()


async def test_settings_of_the_server_are_seen(config: Redis, redis_url: str) -> None:
    config.config_set("maxmemory", "1gb")
    config.config_set("maxmemory-policy", "allkeys-lru")
    config.config_set("appendfsync", "no")
    server = await look(redis_url)
    assert (server.maxmemory_bytes, server.maxmemory_policy) == (1024**3, "allkeys-lru")
    assert (server.is_append_only, server.appendfsync) == (True, "no")

    config.config_set("appendonly", "no")
    assert not (await look(redis_url)).is_append_only


async def test_slow_commands_are_seen_without_their_arguments(
    config: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.slowlog_reset()
    config.config_set("slowlog-log-slower-than", 0)
    config.set("secret", "prompt")
    assert (await look(redis_url)).slow_commands == ()
    config.slowlog_reset()
    config.set("secret", "prompt")
    monkeypatch.setattr(redis_server_facts, "SLOW_MS", 0.0)

    slow = (await look(redis_url)).slow_commands

    assert "SET" in {command.name for command in slow}
    assert all(0 <= command.took_ms < 30_000 for command in slow)
    assert all(0 <= command.ended_ago_s < 30 for command in slow)
    assert "secret" not in str(slow)


async def test_an_account_without_rights_is_told_less(redis: Redis, redis_url: str) -> None:
    rules = ("on", ">pw", "~*", "&*", "+@all", "-config", "-slowlog")
    redis.execute_command("ACL", "SETUSER", "reader", *rules)  # type: ignore[no-untyped-call]  # redis-py's
    try:
        server = await look(redis_url.replace("//", "//reader:pw@"))
    finally:
        redis.acl_deluser("reader")
    assert (server.appendfsync, server.slow_commands) == (None, ())
    assert server.is_append_only

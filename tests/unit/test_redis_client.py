"""What Redis's errors mean: what passes is waited for, and ends no process."""

import asyncio
import socket
from typing import cast

import pytest
import uvloop
from redis import Redis
from redis._parsers.base import BaseParser
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError

from preble.broker.redis_client import as_broker_error, connect, connect_blocking, translated
from preble.errors import BrokerError, BrokerUnavailable, ConfigError

PASSES = (
    "READONLY You can't write against a read only replica. script: 1f3a, on @user_script:1.",
    "READONLY Can not run script with write flag on readonly replica.",
    "MISCONF Errors writing to the AOF file: No space left on device",
    "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOREPLICAS Not enough good replicas to write.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "CLUSTERDOWN The cluster is down",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "ERR max number of clients reached",
)
STAYS = (
    "ERR unknown command 'WAITAOF', with args beginning with: '1' '1' '4000'",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "NOPERM User default has no permissions to run the 'evalsha' command",
)


def parsed(reply: str) -> Exception:
    """As redis-py raises it."""
    error = BaseParser.parse_error(reply)  # type: ignore[no-untyped-call]  # redis-py's
    assert isinstance(error, RedisError)
    return error


def in_pipeline(error: Exception) -> Exception:
    """As redis-py raises it of a command in a pipeline."""
    Pipeline.annotate_exception(None, error, 1, ("SET", "key", "a secret"))  # type: ignore[arg-type]  # it needs no self
    return error


@pytest.mark.parametrize("reply", PASSES)
def test_what_passes_is_unavailable_alone_and_in_a_pipeline(reply: str) -> None:
    for error in (parsed(reply), in_pipeline(parsed(reply))):
        assert isinstance(as_broker_error(error), BrokerUnavailable)


@pytest.mark.parametrize("reply", STAYS)
def test_what_stays_is_refused_alone_and_in_a_pipeline(reply: str) -> None:
    for error in (parsed(reply), in_pipeline(parsed(reply))):
        assert not isinstance(as_broker_error(error), BrokerUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("Error 111 connecting"), RedisTimeoutError("Timeout reading"),
        MasterNotFoundError("No master found for 'preble'"), ConnectionResetError(),
        socket.gaierror(-3, "Temporary failure in name resolution"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_be_reached_is_unavailable(error: Exception) -> None:
    with pytest.raises(BrokerUnavailable), translated():
        raise error


def test_an_error_says_what_the_server_said_and_no_clients_data() -> None:
    said = str(as_broker_error(in_pipeline(parsed("MISCONF Errors writing to the AOF file"))))
    assert said == "Redis is not available: MISCONF Errors writing to the AOF file"
    assert isinstance(as_broker_error(parsed("ERR no")), BrokerError)


@pytest.mark.parametrize(
    "url",
    [
        "http://nowhere", "redis+sentinel://one:26379", "redis+sentinel:///preble",
        "redis+sentinel://one:port/preble", "redis+sentinel://one/preble/first",
        "redis+sentinel://one/preble?other=1",
    ],
)  # fmt: skip
def test_a_wrong_url_is_a_wrong_setting(url: str) -> None:
    for make in (connect, connect_blocking):
        with pytest.raises(ConfigError, match=r"^setting redis_url: "):
            make(url)


def test_a_password_is_not_told() -> None:
    with pytest.raises(ConfigError) as refused:
        connect("redis+sentinel://me:s/cret@one:26379/preble")
    assert "cret" not in str(refused.value)


@pytest.mark.anyio
async def test_sentinels_that_are_away_are_unavailable() -> None:
    client = connect("redis+sentinel://127.0.0.1:1,127.0.0.1:2/preble")
    async with asyncio.timeout(10):
        with pytest.raises(BrokerUnavailable), translated():
            await client.get("key")
    await client.aclose()


class Resetting(asyncio.Protocol):
    """A server that resets each connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).abort()


async def calls_of_a_reset_connection() -> set[type[Exception]]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Resetting, "127.0.0.1", 0)
    client = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")

    async def call() -> type[Exception]:
        try:
            with translated():
                await client.get("any")
        except Exception as error:  # noqa: BLE001  # whichever it is
            return type(error)
        raise AssertionError

    errors = {each for _ in range(4) for each in await asyncio.gather(*(call() for _ in range(50)))}
    server.close()
    await client.aclose()
    return errors


def test_a_connection_that_is_reset_in_the_moment_of_a_write_makes_redis_unavailable() -> None:
    """uvloop, on which the api and the workers run, tells that in its own way."""
    assert uvloop.run(calls_of_a_reset_connection()) == {BrokerUnavailable}


@pytest.mark.anyio
async def test_a_connection_that_broke_while_nobody_used_it_fails_no_call(
    redis: Redis, redis_url: str
) -> None:
    client = connect(redis_url, max_connections=1)
    assert await client.execute_command("ECHO", "before") == b"before"
    assert redis.client_kill_filter(_type="normal", skipme=True) >= 1
    assert await client.execute_command("ECHO", "after") == b"after"
    await client.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("turns", range(6))
async def test_the_reply_of_a_cancelled_call_is_nobody_elses(
    redis: Redis, redis_url: str, turns: int
) -> None:
    """Wherever it is cancelled: the connection is lent again without a trial read."""
    del redis  # emptied first
    client = connect(redis_url, max_connections=1)
    await client.execute_command("PING")
    call = asyncio.ensure_future(client.execute_command("ECHO", "cancelled"))
    for _ in range(turns):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    for number in range(3):
        assert await client.execute_command("ECHO", f"own {number}") == f"own {number}".encode()
    await client.aclose()

"""Runs Lua scripts on Redis; turns its errors into ours.

Nothing here knows jobs. Every path to Redis goes through `translated()`, so a caller sees
BrokerUnavailable for whatever Redis cannot do just now, and BrokerError for a bug.
"""

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    BusyLoadingError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from preble.errors import BrokerError, BrokerUnavailable, ConfigError

Argument = str | bytes | int | float
Arguments = Sequence[Argument]

SOCKET_TIMEOUT_S: Final = 5.0
"""Longest silence of Redis before it counts as unreachable; blocking reads stay below."""

_UNAVAILABLE: Final = (
    BusyLoadingError, OSError, OutOfMemoryError, ReadOnlyError, RedisConnectionError,
    RedisTimeoutError,
)  # fmt: skip


def connect(redis_url: str, *, max_connections: int = 16) -> aioredis.Redis:
    """A client whose calls wait for a free connection instead of failing.

    Raises:
        ConfigError: If the URL is none that Redis knows.
    """
    retry = Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), retries=3)
    try:
        pool = aioredis.BlockingConnectionPool.from_url(
            redis_url, max_connections=max_connections, protocol=2, retry=retry,
            socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=SOCKET_TIMEOUT_S,
        )  # fmt: skip
    except ValueError as error:
        msg = f"setting redis_url: {error}"
        raise ConfigError(msg) from None
    return aioredis.Redis.from_pool(pool)


@contextmanager
def translated() -> Generator[None]:
    """Raise Redis errors as ours."""
    try:
        yield
    except RedisError as error:
        raise as_broker_error(error) from error
    except OSError as error:
        raise as_broker_error(error) from error


def as_broker_error(error: Exception) -> BrokerError:
    """What a Redis error means to a caller."""
    if isinstance(error, _UNAVAILABLE):
        return BrokerUnavailable(f"Redis is not available: {error}")
    return BrokerError(f"Redis refused a command: {error}")


class ScriptRunner:
    """Calls scripts by name, loading them where Redis does not know them yet."""

    def __init__(self, client: aioredis.Redis, sources: Mapping[str, str]) -> None:
        self._client = client
        self._sources = sources
        self._shas = {
            name: hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            for name, source in sources.items()
        }

    async def run(self, name: str, *arguments: Argument) -> Any:  # noqa: ANN401  # any Lua reply
        """One script's reply. Raises: BrokerUnavailable, BrokerError."""
        with translated():
            try:
                return await self._call(self._client, name, arguments)
            except NoScriptError:
                await self._client.script_load(self._sources[name])
                return await self._call(self._client, name, arguments)

    async def run_each(self, name: str, calls: Sequence[Arguments]) -> list[Any]:
        """One script with several argument lists in one round trip.

        Returns:
            For each call its reply, or the BrokerError it met.
        """
        if len(calls) == 1:
            return [await self._run_or_error(name, calls[0])]
        replies = await self._pipeline(name, calls)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            with translated():
                await self._client.script_load(self._sources[name])
            replies = await self._pipeline(name, calls)
        return [as_broker_error(r) if isinstance(r, Exception) else r for r in replies]

    async def _run_or_error(self, name: str, arguments: Arguments) -> Any:  # noqa: ANN401
        try:
            return await self.run(name, *arguments)
        except BrokerError as error:
            return error

    async def _pipeline(self, name: str, calls: Sequence[Arguments]) -> list[Any]:
        with translated():
            async with self._client.pipeline(transaction=False) as pipeline:
                for arguments in calls:
                    self._call(pipeline, name, arguments)
                return await pipeline.execute(raise_on_error=False)

    def _call(self, client: aioredis.Redis, name: str, arguments: Arguments) -> Any:  # noqa: ANN401
        return client.execute_command("EVALSHA", self._shas[name], 0, *arguments)

"""The connection to Redis, as this package uses it, and what its errors mean.

redis-py annotates each command with all it might return under any protocol and decoding.
`Client` says what these connections do return: RESP2, bytes.
"""

import asyncio
from collections.abc import Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Final, Protocol, cast

import redis
import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from preble.broker.redis_measured import measured
from preble.broker.redis_pool import TrustingPool
from preble.broker.redis_sentinel import blocking_primary, primary_pool
from preble.broker.redis_url import is_sentinel_url, parse_sentinel_url
from preble.errors import BrokerError, BrokerUnavailable, ConfigError
from preble.metrics import RedisCalls

SOCKET_TIMEOUT_S: Final = 5.0
"""Longest silence of Redis before it counts as unreachable; blocking reads stay below."""

_TIMEOUTS: Final[dict[str, Any]] = {
    "protocol": 2, "socket_timeout": SOCKET_TIMEOUT_S, "socket_connect_timeout": SOCKET_TIMEOUT_S,
}  # fmt: skip

Argument = str | bytes | int | float
Entries = Sequence[tuple[bytes, Mapping[bytes, bytes]]]
Streams = Sequence[tuple[bytes, Entries]]

STREAM_START: Final = "0-0"
"""Read after it, a stream comes from its first entry on."""

_UNAVAILABLE: Final = (
    BusyLoadingError, ClusterDownError, MasterDownError, OSError, OutOfMemoryError,
    ReadOnlyError, RedisConnectionError, RedisTimeoutError,
)  # fmt: skip


_UNAVAILABLE_REPLIES: Final = ("MISCONF", "NOREPLICAS", "BUSY", "UNBLOCKED")
"""Refusals that pass and have no class: a full disk, missing replicas, a long script, a primary
that became a replica while a read waited."""


_CLOSED_TRANSPORT: Final = "the handler is closed"
"""How uvloop says that a connection was reset in the moment of a write."""


def block_ms(timeout_s: float) -> int | None:
    """How long a read of streams waits for entries; None not at all, for 0 would be for ever."""
    return int(min(timeout_s, SOCKET_TIMEOUT_S / 2) * 1000) or None


class Pipeline(Protocol):
    """Commands gathered for one round trip."""

    def get(self, name: str) -> object: ...
    def hget(self, name: str, key: str) -> object: ...
    def hgetall(self, name: str) -> object: ...
    def llen(self, name: str) -> object: ...
    def zcard(self, name: str) -> object: ...
    def xadd(self, name: str, fields: Mapping[str, bytes], *, maxlen: int) -> object: ...
    def execute_command(self, *arguments: Argument) -> object: ...
    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002
        """Replies in order; errors in their place if not raised."""
        ...


class Client(Protocol):
    """The commands this package sends one by one."""

    async def get(self, name: str) -> bytes | None: ...
    async def smembers(self, name: str) -> AbstractSet[bytes]: ...
    async def set(
        self, name: str, value: bytes, *, nx: bool = False, ex: int | None = None
    ) -> object: ...
    async def lrange(self, name: str, start: int, end: int) -> list[bytes]: ...
    async def zrange(self, name: str, start: int, end: int) -> list[bytes]: ...
    async def xread(
        self, streams: Mapping[str, str], count: int | None = None, block: int | None = None
    ) -> Streams: ...
    async def xrevrange(self, name: str, *, count: int) -> Entries: ...
    async def script_load(self, script: str) -> object: ...
    async def execute_command(self, *arguments: Argument) -> Any: ...  # noqa: ANN401
    def pipeline(self, *, transaction: bool) -> AbstractAsyncContextManager[Pipeline]: ...
    async def aclose(self) -> None: ...


def connect(
    redis_url: str, *, max_connections: int = 16, calls: RedisCalls | None = None
) -> Client:
    """A client whose calls wait for a free connection instead of failing.

    A connection that broke while nobody used it is found so by its next call, which is sent again.

    One that is told a server became a replica forgets its connection: the next may lead to
    another server, under the same name or by the Sentinels' word.

    Args:
        redis_url: Where to.
        max_connections: At once.
        calls: Where its round trips are counted.

    Raises:
        ConfigError: If the URL is none that Redis knows.
    """
    options = {
        "max_connections": max_connections,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), retries=3),
        "retry_on_error": [ReadOnlyError],
        **_TIMEOUTS,
    }
    with _as_setting():
        pool = _connections(redis_url, options)
    return cast("Client", measured(pool, calls or RedisCalls(None)))


def _connections(redis_url: str, options: Mapping[str, Any]) -> aioredis.ConnectionPool:
    if is_sentinel_url(redis_url):
        return primary_pool(parse_sentinel_url(redis_url), options, _TIMEOUTS)
    # redis-py leaves the keywords of `from_url` without types.
    return TrustingPool.from_url(redis_url, **options)  # pyright: ignore[reportUnknownMemberType]


def connect_blocking(redis_url: str) -> redis.Redis:
    """A client for threads, and for RQ. Raises: ConfigError."""
    with _as_setting():
        if is_sentinel_url(redis_url):
            return blocking_primary(parse_sentinel_url(redis_url), _TIMEOUTS)
        return redis.Redis.from_url(redis_url, **_TIMEOUTS)  # pyright: ignore[reportUnknownMemberType]  # as above


@contextmanager
def _as_setting() -> Generator[None]:
    try:
        yield
    except ValueError as error:
        msg = f"setting redis_url: {error}"
        raise ConfigError(msg) from None


@contextmanager
def translated() -> Generator[None]:
    """Raise Redis errors as ours; and a cancellation that redis-py has swallowed.

    It does so when the cancellation meets its own socket timeout, as after a stop and
    continue of the whole process: the call returns and the task would never end.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        _require_not_cancelled()
        raise as_broker_error(error) from error
    except RuntimeError as error:
        _require_not_cancelled()
        if _CLOSED_TRANSPORT not in str(error):
            raise
        msg = "Redis is not available: the connection was reset"
        raise BrokerUnavailable(msg) from error
    _require_not_cancelled()


def _require_not_cancelled() -> None:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # in a thread
        return
    if task and task.cancelling():
        raise asyncio.CancelledError


def as_broker_error(error: Exception) -> BrokerError:
    """What a Redis error means to a caller."""
    said = _said(error)
    if isinstance(error, _UNAVAILABLE) or said.startswith(_UNAVAILABLE_REPLIES):
        return BrokerUnavailable(f"Redis is not available: {said}")
    return BrokerError(f"Redis refused a command: {said}")


def _said(error: Exception) -> str:
    """The server's words. A pipeline puts the command before them, which holds clients' data."""
    _, is_pipeline, said = str(error).rpartition(" of pipeline caused error: ")
    return said.strip("(\"',)") if is_pipeline else said

"""The connection to Redis, as this package uses it, and what its errors mean.

redis-py annotates each command with all it might return under any protocol and decoding.
`Client` says what these connections do return: RESP2, bytes.
"""

import asyncio
from collections.abc import Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Final, Protocol, cast

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

from preble.errors import BrokerError, BrokerUnavailable, ConfigError

SOCKET_TIMEOUT_S: Final = 5.0
"""Longest silence of Redis before it counts as unreachable; blocking reads stay below."""

Argument = str | bytes | int | float
Entries = Sequence[tuple[bytes, Mapping[bytes, bytes]]]
Streams = Sequence[tuple[bytes, Entries]]

_UNAVAILABLE: Final = (
    BusyLoadingError, ClusterDownError, MasterDownError, OSError, OutOfMemoryError,
    ReadOnlyError, RedisConnectionError, RedisTimeoutError,
)  # fmt: skip


_UNAVAILABLE_REPLIES: Final = ("MISCONF", "NOREPLICAS", "BUSY")
"""Refusals that pass and have no class: a full disk, missing replicas, a long script."""


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


def connect(redis_url: str, *, max_connections: int = 16) -> Client:
    """A client whose calls wait for a free connection instead of failing.

    Raises:
        ConfigError: If the URL is none that Redis knows.
    """
    retry = Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), retries=3)
    try:
        # redis-py leaves the keywords of `from_url` without types.
        pool = aioredis.BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            redis_url, max_connections=max_connections, protocol=2, retry=retry,
            socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=SOCKET_TIMEOUT_S,
        )  # fmt: skip
    except ValueError as error:
        msg = f"setting redis_url: {error}"
        raise ConfigError(msg) from None
    return cast("Client", aioredis.Redis.from_pool(pool))


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
    if isinstance(error, _UNAVAILABLE) or str(error).startswith(_UNAVAILABLE_REPLIES):
        return BrokerUnavailable(f"Redis is not available: {error}")
    return BrokerError(f"Redis refused a command: {error}")

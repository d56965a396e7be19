"""A client of Redis that times its round trips: each command, and each pipeline as one."""

from typing import Any, Final, cast

import redis.asyncio as aioredis
from redis.asyncio.client import Pipeline

from preble.clock import SystemClock
from preble.metrics import RedisCalls

_CLOCK: Final = SystemClock()


def measured(pool: aioredis.ConnectionPool, calls: RedisCalls) -> "MeasuredRedis":
    """A client of these connections, which closes them when it is closed."""
    client = cast("MeasuredRedis", MeasuredRedis.from_pool(pool))
    client.calls = calls
    return client


class MeasuredRedis(aioredis.Redis):
    """As redis-py's own. Made by `measured`."""

    calls: RedisCalls

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """One command, and how long it took, whatever came of it."""
        started_s = _CLOCK.now_s()
        try:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        finally:
            self.calls.observe(args, _CLOCK.now_s() - started_s)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: FBT001, FBT002
        """Commands that go out together."""
        made = MeasuredPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        made.calls = self.calls
        return made


class MeasuredPipeline(Pipeline):
    """One round trip, named by its first command."""

    calls: RedisCalls

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002
        """All of them, and how long they took together."""
        first = self.command_stack[0][0] if self.command_stack else ()
        started_s = _CLOCK.now_s()
        try:
            return await super().execute(raise_on_error)
        finally:
            if first:
                self.calls.observe(first, _CLOCK.now_s() - started_s)

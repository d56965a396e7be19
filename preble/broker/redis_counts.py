"""The counts on Redis; see `counts.py`. One round trip after the names are known."""

import math
from typing import Final

from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Client, translated
from preble.broker.redis_rq import RedisRq
from preble.messages import PoolStats, RqView

_BYTES: Final = ("prompt_bytes", "dead_letter_bytes", "ended_bytes")


class RedisCounts:
    """The counts of one pool. Implements `Counts`."""

    def __init__(self, client: Client, keys: PoolKeys) -> None:
        self._client = client
        self._keys = keys
        self._rq = RedisRq(client, keys)

    async def stats(self) -> PoolStats:
        """Counts of the pool."""
        keys = self._keys
        with translated():
            ingresses = await self._client.smembers(keys("ingresses"))
            instances = await self._client.zrange(keys("instances"), 0, -1)
            async with self._client.pipeline(transaction=False) as pipeline:
                for ingress in ingresses:
                    pipeline.llen(keys("queue", queue=ingress.decode()))
                for instance in instances:
                    pipeline.llen(keys("queue", queue=keys.instance_queue(instance.decode())))
                pipeline.zcard(keys("leases"))
                pipeline.execute_command("HMGET", keys("counts"), *_BYTES)
                pipeline.hgetall(keys("totals"))
                *lengths, running, counts, totals = await pipeline.execute()
        prompt_bytes, dead_letter_bytes, ended_bytes = (int(count or 0) for count in counts)
        return PoolStats(
            waiting=sum(lengths[: len(ingresses)]), assigned=sum(lengths[len(ingresses) :]),
            running=running, prompt_bytes=prompt_bytes, instances=len(instances),
            totals={name.decode(): int(value) for name, value in totals.items()},
            dead_letter_bytes=dead_letter_bytes, ended_bytes=ended_bytes,
        )  # fmt: skip

    async def kept_s(self) -> float:
        """For how long jobs that ended are known: one round trip."""
        with translated():
            async with self._client.pipeline(transaction=False) as pipeline:
                pipeline.execute_command("TIME")
                pipeline.hget(self._keys("counts"), "dropped_ms")
                (now_s, now_us), dropped_ms = await pipeline.execute()
        if dropped_ms is None:
            return math.inf
        return float(now_s + now_us / 1_000_000 - int(dropped_ms) / 1_000)

    async def rq_view(self) -> RqView:
        """What RQ's records say."""
        return await self._rq.view()

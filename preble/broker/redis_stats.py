"""Counts of a pool, as a status page shows them: one round trip after the names are known."""

import math
from typing import Final

from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Client, translated
from preble.broker.redis_replies import decode_record
from preble.messages import InstanceLoad, PoolStats

_BYTES: Final = ("prompt_bytes", "dead_letter_bytes", "ended_bytes")


async def pool_stats(client: Client, keys: PoolKeys) -> PoolStats:
    """Counts of the pool. Raises: BrokerUnavailable. Cost: O(instances + ingress queues)."""
    with translated():
        ingresses = await client.smembers(keys("ingresses"))
        instances = await client.zrange(keys("instances"), 0, -1)
        async with client.pipeline(transaction=False) as pipeline:
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


async def kept_s(client: Client, keys: PoolKeys) -> float:
    """For how long jobs that ended are known. Raises: BrokerUnavailable. Cost: one round trip."""
    with translated():
        async with client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command("TIME")
            pipeline.hget(keys("counts"), "dropped_ms")
            (now_s, now_us), dropped_ms = await pipeline.execute()
    if dropped_ms is None:
        return math.inf
    return float(now_s + now_us / 1_000_000 - int(dropped_ms) / 1_000)


async def instance_loads(client: Client, keys: PoolKeys) -> list[InstanceLoad]:
    """The registered instances, by id. Raises: BrokerUnavailable. Cost: two round trips."""
    with translated():
        names = sorted(name.decode() for name in await client.zrange(keys("instances"), 0, -1))
        async with client.pipeline(transaction=False) as pipeline:
            for name in names:
                queue = keys.instance_queue(name)
                pipeline.hget(keys("instance", instance=name), "record")
                pipeline.llen(keys("queue", queue=queue))
                pipeline.zcard(keys("started", queue=queue))
            replies = await pipeline.execute()
    triples = zip(replies[::3], replies[1::3], replies[2::3], strict=True)
    return [
        InstanceLoad(decode_record(record), assigned, running)
        for record, assigned, running in triples
        if record  # else it has left since it was listed
    ]

"""Counts of a pool, as a status page shows them: one round trip after the names are known."""

from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Client, translated
from preble.messages import PoolStats


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
            pipeline.hget(keys("counts"), "prompt_bytes")
            pipeline.hget(keys("counts"), "dead_letter_bytes")
            pipeline.hgetall(keys("totals"))
            *lengths, running, prompt_bytes, dead_bytes, totals = await pipeline.execute()
    return PoolStats(
        waiting=sum(lengths[: len(ingresses)]), assigned=sum(lengths[len(ingresses) :]),
        running=running, prompt_bytes=int(prompt_bytes or 0), instances=len(instances),
        totals={name.decode(): int(value) for name, value in totals.items()},
        dead_letter_bytes=int(dead_bytes or 0),
    )  # fmt: skip

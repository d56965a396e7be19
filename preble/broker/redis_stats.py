"""Counts of a pool, as a status page shows them: one round trip after the names are known."""

from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Client, translated
from preble.broker.redis_replies import decode_record
from preble.messages import InstanceLoad, PoolStats


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

"""A small pool on a real Valkey, and how it is looked at."""

from typing import Final

from support import POOL as RECORD
from support import assignment, completed, record, submission

from preble.broker.facts import PoolFacts
from preble.broker.redis import RedisBroker
from preble.broker.redis_facts import collect_facts
from preble.clock import SystemClock
from preble.messages import LeaderToken

POOL: Final = "blue"


async def look_at_pool(redis_url: str) -> PoolFacts:
    """The facts of the pool."""
    pool = (await collect_facts(redis_url, POOL, SystemClock())).pool
    assert pool
    return pool


async def lead(broker: RedisBroker) -> LeaderToken:
    """Become the leader."""
    token = await broker.lead("leader", ttl_s=60)
    assert token
    return token


async def fill(broker: RedisBroker) -> None:
    """Job a is completed, b runs under lease `b:c-2`, c is assigned, d waits."""
    await broker.agreement.join_pool(RECORD)
    await broker.register(record(), lease_s=60)
    for name in ("a", "b", "c"):
        await broker.admit([[submission(name)]])
    token, waiting = await lead(broker), await broker.peek(10)
    assert all(await broker.route(token, [(job.ingress, assignment(job)) for job in waiting]))
    first, _ = await broker.claim(record(), number=1, jobs=2, tokens=100, num_held=0, lease_s=60)
    await broker.finish(record(), [completed(first.lease)])
    await broker.admit([[submission("d", priority="high", tenant="acme")]])

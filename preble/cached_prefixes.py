"""Which prefixes a pool has cached, and where: the prefix tree as a new leader would load it.

Read from Redis alone, as `preble doctor` does: neither an api nor a scheduler is asked, and none is
held up, however large the tree. Hits are the jobs on the instances; the window of the leader that
runs is its own.
"""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from preble.broker import Broker
from preble.broker.redis import RedisBroker
from preble.broker.redis_facts import collect_facts
from preble.clock import Clock
from preble.config import Settings
from preble.errors import ConfigError
from preble.messages import InstanceId
from preble.policy import create_policy
from preble.prefix_tree import Drawing, Selection
from preble.scheduler import Scheduler

_MOST_READS = 64
"""Of events, which may come as fast as they are read."""


class CachedPrefixes(msgspec.Struct, frozen=True):
    """What a pool's instances hold."""

    pool: str
    block_size: int
    """Tokens in a block."""
    capacity_blocks: Mapping[InstanceId, int]
    """Of the KV caches of the instances that take jobs."""
    drawing: Drawing


async def look(
    settings: Settings, clock: Clock, *, instance_id: InstanceId | None, selection: Selection,
    min_cached_tokens: int,
) -> CachedPrefixes:  # fmt: skip
    """Load the tree, and draw it.

    Args:
        settings: Which pool, and where.
        clock: Tells when the jobs there count as placed.
        instance_id: Only what it holds; None for all.
        selection: How much to draw.
        min_cached_tokens: Prefixes with fewer, in and behind them, are left out.

    Raises:
        BrokerUnavailable: If Redis cannot be reached.
        ConfigError: If the pool was never founded, or has no such instance that takes jobs.

    Cost: that of a scheduler's start: a second or two and 150 MB for a million blocks.
    """
    facts = await collect_facts(settings.redis_url, settings.pool, clock)
    record = facts.pool.record if facts.pool else None
    if record is None:
        msg = f"pool {settings.pool} was never founded: check PREBLE_POOL and PREBLE_REDIS_URL"
        raise ConfigError(msg)
    scheduler = Scheduler(
        create_policy("round_robin"), block_size=record.block_size, history_s=settings.history_s
    )
    broker = RedisBroker.from_settings(settings)
    try:
        await _load(scheduler, broker, clock)
    finally:
        await broker.close()
    capacities = {
        each.instance_id: each.kv_capacity_tokens // record.block_size
        for each in scheduler.instances
    }
    if instance_id is not None and instance_id not in capacities:
        there = ", ".join(capacities) or "none"
        msg = f"no instance called {instance_id!r} takes jobs; there are: {there}"
        raise ConfigError(msg)
    selection = replace(selection, min_cached_blocks=-(-min_cached_tokens // record.block_size))
    drawing = scheduler.draw(selection, instance_id=instance_id)
    return CachedPrefixes(settings.pool, record.block_size, capacities, drawing)


async def _load(scheduler: Scheduler, broker: Broker, clock: Clock) -> None:
    """As `Leadership.load`, but for a gap in the events: what is missing is left out."""
    pool = await broker.bulletin.load_pool()
    for record in pool.instances:
        scheduler.join(record)
    for snapshot in pool.snapshots:
        scheduler.load_snapshot(snapshot)
    for job in pool.placed:
        scheduler.restore(job, now_s=clock.now_s())
    cursor = pool.cursor
    for _ in range(_MOST_READS):
        news = await broker.bulletin.follow(cursor, timeout_s=0)
        cursor = news.cursor
        for batch in news.batches:
            if not scheduler.fold(batch):
                scheduler.restart_blocks(batch)
        if not (news.batches or news.signals):
            return

"""What a look at a pool on a real Valkey sees when one thing is wrong."""

from collections.abc import AsyncIterator

import pytest
from redis import Redis
from redis_facts_support import POOL, fill, look_at_pool
from support import record, redis_broker, submission

from preble.broker.facts import DamagedJob, StrandedQueue
from preble.broker.redis import RedisBroker
from preble.broker.redis_bulletin import EVENTS_KEPT
from preble.messages import (
    AllBlocksCleared,
    BlocksStored,
    EventBatch,
    InstanceId,
    JobId,
    Snapshot,
    pack_keys,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def broker(redis: Redis, redis_url: str) -> AsyncIterator[RedisBroker]:
    del redis  # emptied first
    made = redis_broker(redis_url, POOL)
    yield made
    await made.close()


async def test_an_overdue_lease_is_seen_and_one_handed_back_is_not_overdue(
    broker: RedisBroker, redis: Redis, redis_url: str
) -> None:
    await fill(broker)
    await broker.claim(record(), number=2, jobs=1, tokens=100, num_held=0, lease_s=60)
    now_ms = redis.time()[0] * 1000
    redis.zadd(f"preble:{POOL}:leases", {"b:e1-1-2": now_ms - 30_000, "c:e1-2-1": 0}, xx=True)

    jobs = (await look_at_pool(redis_url)).jobs

    assert (jobs.leases, jobs.overdue, jobs.released) == (2, 1, 1)
    (lease,) = jobs.overdue_sample
    assert (lease.job_id, lease.instance_id) == ("b", "gpu0")
    assert 29 < lease.overdue_s < 60


async def test_a_lease_that_just_ran_out_is_not_overdue(
    broker: RedisBroker, redis: Redis, redis_url: str
) -> None:
    await fill(broker)
    now_s, now_us = redis.time()
    redis.zadd(f"preble:{POOL}:leases", {"b:e1-1-2": now_s * 1000 + now_us // 1000}, xx=True)

    assert (await look_at_pool(redis_url)).jobs.overdue == 0


async def test_a_passed_deadline_is_seen(broker: RedisBroker, redis: Redis, redis_url: str) -> None:
    await fill(broker)
    redis.zadd(f"preble:{POOL}:deadlines", {"d": (redis.time()[0] - 5) * 1000})

    assert (await look_at_pool(redis_url)).jobs.late == 1


async def test_a_stale_instance_and_one_that_left(
    broker: RedisBroker, redis: Redis, redis_url: str
) -> None:
    for name in ("gpu0", "gpu1", "gpu2"):
        await broker.register(record(name), lease_s=60)
    redis.zadd(f"preble:{POOL}:instances", {"gpu1": (redis.time()[0] - 75) * 1000})
    await broker.retire(record("gpu2"))

    pool = await look_at_pool(redis_url)

    alive, stale, left = pool.instances
    assert pool.alive == (alive,)
    assert stale.lease_left_s is not None
    assert -90 < stale.lease_left_s < -73
    assert (left.lease_left_s, left.heartbeat_ago_s is None) == (None, False)


@pytest.mark.parametrize("blob", [None, b"\x00of another version"])
async def test_an_instance_without_a_readable_record(
    broker: RedisBroker, redis: Redis, redis_url: str, blob: bytes | None
) -> None:
    await broker.register(record(), lease_s=60)
    redis.delete("rq:worker:blue.instance.gpu0", f"preble:{POOL}:instance:gpu0")
    if blob:
        redis.hset(f"preble:{POOL}:instance:gpu0", "record", blob)

    (instance,) = (await look_at_pool(redis_url)).instances

    assert (instance.record, instance.heartbeat_ago_s) == (None, None)


async def test_a_queued_id_without_a_hash_and_jobs_that_lack_a_part(
    broker: RedisBroker, redis: Redis, redis_url: str
) -> None:
    await fill(broker)
    redis.rpush(f"rq:queue:{POOL}.ingress.high.acme", "ghost")
    redis.delete(f"preble:{POOL}:prompt:c", f"preble:{POOL}:blocks:d")

    pool = await look_at_pool(redis_url)

    assert pool.jobs.damaged == (
        DamagedJob(JobId("c"), ("prompt",)),
        DamagedJob(JobId("d"), ("block keys",)),
        DamagedJob(JobId("ghost"), ("record",)),
    )
    assert pool.unaccounted == -1


async def test_a_job_that_ended_meanwhile_lacks_nothing(
    broker: RedisBroker, redis: Redis, redis_url: str
) -> None:
    await fill(broker)
    redis.rpush(f"rq:queue:{POOL}.ingress.high.acme", "a")

    jobs = (await look_at_pool(redis_url)).jobs

    assert (jobs.sampled, jobs.damaged) == (3, ())


async def test_a_job_that_was_deleted_still_counts(
    broker: RedisBroker, redis: Redis, redis_url: str
) -> None:
    await fill(broker)
    redis.lrem(f"rq:queue:{POOL}.ingress.high.acme", 1, "d")

    assert (await look_at_pool(redis_url)).unaccounted == 1


async def test_an_ended_job_whose_entry_was_deleted_still_counts(
    broker: RedisBroker, redis: Redis, redis_url: str
) -> None:
    await fill(broker)
    redis.delete(f"preble:{POOL}:ended")

    jobs = (await look_at_pool(redis_url)).jobs

    assert jobs.ended_bytes > 0
    assert jobs.recounted_ended_bytes == 0


async def test_jobs_of_an_instance_that_is_gone_are_stranded(
    broker: RedisBroker, redis: Redis, redis_url: str
) -> None:
    await fill(broker)
    redis.zrem(f"preble:{POOL}:instances", "gpu0")

    pool = await look_at_pool(redis_url)

    assert pool.jobs.stranded == (StrandedQueue(InstanceId("gpu0"), 1),)
    assert (pool.instances, pool.unaccounted) == ((), 0)


async def test_the_oldest_of_a_queue_is_found_behind_younger_ones(
    broker: RedisBroker, redis: Redis, redis_url: str
) -> None:
    for name in ("a", "b", "c"):
        await broker.admit([[submission(name)]])
    redis.hincrby("rq:job:b", "preble_submitted_ms", -700_000)

    (queue,) = (await look_at_pool(redis_url)).jobs.ingresses

    assert (queue.priority, queue.tenant, queue.jobs) == ("normal", "default", 3)
    assert queue.oldest_s is not None
    assert 700 <= queue.oldest_s < 730


def batch(seq: int, epoch: str = "e1") -> EventBatch:
    return EventBatch(InstanceId("gpu0"), epoch, seq, (AllBlocksCleared(),))


async def test_how_far_snapshot_and_stream_reach(broker: RedisBroker, redis_url: str) -> None:
    await broker.register(record(), lease_s=60)
    await broker.bulletin.publish([batch(seq) for seq in range(1, 6)])
    runs = tuple(BlocksStored(pack_keys(range(1000))) for _ in range(3))
    await broker.bulletin.save_snapshot(Snapshot(InstanceId("gpu0"), "e1", 3, runs))

    (instance,) = (await look_at_pool(redis_url)).instances

    events = instance.events
    assert (events.batches, events.last_seq, events.snapshot_seq) == (5, 5, 3)
    assert (events.most_batches, events.is_taken_over) == (EVENTS_KEPT, False)
    assert (events.batches_since_snapshot, events.lost_batches) == (2, 0)


async def test_a_trimmed_stream_leaves_a_gap(
    broker: RedisBroker, redis: Redis, redis_url: str
) -> None:
    await broker.register(record(), lease_s=60)
    await broker.bulletin.publish([batch(seq) for seq in range(1, 11)])
    redis.xtrim(f"preble:{POOL}:events:gpu0", maxlen=4, approximate=False)

    (instance,) = (await look_at_pool(redis_url)).instances

    assert instance.events.lost_batches == 6


async def test_batches_and_snapshots_of_another_life_do_not_count(
    broker: RedisBroker, redis_url: str
) -> None:
    await broker.register(record(), lease_s=60)
    await broker.bulletin.publish([batch(1), batch(7, "e0")])
    await broker.bulletin.save_snapshot(Snapshot(InstanceId("gpu0"), "e0", 7, ()))

    (instance,) = (await look_at_pool(redis_url)).instances

    events = instance.events
    assert (events.last_seq, events.snapshot_seq, events.is_taken_over) == (0, 0, True)

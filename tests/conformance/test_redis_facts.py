"""What a look at a pool on a real Valkey sees while all is well, and what it costs."""

from collections.abc import AsyncIterator

import pytest
from redis import Redis
from redis_facts_support import POOL, fill, lead, look_at_pool
from support import POOL as RECORD
from support import record, redis_broker, submission

from preble.broker.facts import IngressFacts
from preble.broker.redis import RedisBroker
from preble.broker.redis_client import Client, connect
from preble.broker.redis_facts import PoolReader
from preble.broker.redis_questions import Questions, Replies
from preble.broker.sent import sent_texts

pytestmark = pytest.mark.anyio


@pytest.fixture
async def broker(redis: Redis, redis_url: str) -> AsyncIterator[RedisBroker]:
    del redis  # emptied first
    made = redis_broker(redis_url, POOL)
    yield made
    await made.close()


async def test_a_sound_pool(broker: RedisBroker, redis_url: str) -> None:
    await fill(broker)

    pool = await look_at_pool(redis_url)

    assert (pool.record, pool.terms) == (RECORD, 1)
    assert pool.leader_lease_s is not None
    assert 50 < pool.leader_lease_s <= 60
    (instance,) = pool.instances
    assert (instance.record, instance.is_alive) == (record(), True)
    assert instance.lease_left_s is not None
    assert 50 < instance.lease_left_s <= 60
    assert (instance.assigned_jobs, instance.running_jobs) == (1, 1)
    assert instance.heartbeat_ago_s is not None
    assert instance.heartbeat_ago_s < 30
    jobs = pool.jobs
    assert [(queue.priority, queue.tenant, queue.jobs) for queue in jobs.ingresses] == [
        ("high", "acme", 1)
    ]
    assert (jobs.leases, jobs.released, jobs.overdue, jobs.late) == (1, 0, 0, 0)
    assert (jobs.counted, jobs.sampled, jobs.damaged, jobs.stranded) == (3, 3, (), ())
    assert (jobs.is_whole, pool.unaccounted) == (True, 0)
    unfinished = [submission("b"), submission("c"), submission("d", priority="high", tenant="acme")]
    assert jobs.prompt_bytes == sum(sent_texts(job).num_bytes for job in unfinished)
    assert jobs.recounted_ended_bytes == jobs.ended_bytes > 0
    assert jobs.longest_run_s is not None
    assert jobs.longest_run_s < 30
    assert jobs.totals["completed"] == 1


async def test_a_look_changes_nothing(broker: RedisBroker, redis: Redis, redis_url: str) -> None:
    await fill(broker)
    before = {key: redis.dump(key) for key in redis.keys("*")}

    await look_at_pool(redis_url)

    assert {key: redis.dump(key) for key in redis.keys("*")} == before


async def test_a_pool_that_never_was_is_empty(redis: Redis, redis_url: str) -> None:
    del redis  # emptied first
    pool = await look_at_pool(redis_url)

    assert (pool.record, pool.leader_lease_s, pool.terms, pool.instances) == (None, None, 0, ())
    assert (pool.jobs.counted, pool.unaccounted, pool.jobs.longest_run_s) == (0, 0, None)


async def test_without_a_leader_there_is_no_lease(broker: RedisBroker, redis_url: str) -> None:
    await broker.resign(await lead(broker))

    pool = await look_at_pool(redis_url)

    assert (pool.leader_lease_s, pool.terms) == (None, 1)


async def test_many_queues_are_sampled_evenly_and_boundedly(redis: Redis, redis_url: str) -> None:
    for tenant in range(600):
        queue = f"{POOL}.ingress.normal.t{tenant:03}"
        redis.sadd(f"preble:{POOL}:ingresses", queue)
        redis.rpush(f"rq:queue:{queue}", *(f"{tenant}-{number}" for number in range(3)))

    jobs = (await look_at_pool(redis_url)).jobs

    assert (len(jobs.ingresses), jobs.waiting) == (600, 1_800)
    assert jobs.ingresses[7] == IngressFacts("normal", "t007", 3, None)
    assert len(jobs.damaged) == 600  # none has a record


class Unsteady(PoolReader):
    """Between its looks at the names and at the queues, a new tenant submits."""

    def __init__(self, client: Client, redis: Redis, tenants: int) -> None:
        super().__init__(client, POOL)
        self._redis = redis
        self._tenants = tenants

    async def _ask(self, questions: Questions, *, is_atomic: bool = False) -> Replies:
        if is_atomic and self._tenants:
            self._tenants -= 1
            ingress = f"{POOL}.ingress.normal.t{self._tenants}"
            self._redis.sadd(f"preble:{POOL}:ingresses", ingress)
            self._redis.rpush(f"rq:queue:{ingress}", "x")
            self._redis.hincrby(f"preble:{POOL}:counts", "jobs", 1)
        return await super()._ask(questions, is_atomic=is_atomic)


@pytest.mark.parametrize(("tenants", "unaccounted"), [(0, 0), (2, 0), (3, None)])
async def test_sums_are_of_one_moment_or_none_are_made(
    redis: Redis, redis_url: str, tenants: int, unaccounted: int | None
) -> None:
    client = connect(redis_url)
    try:
        pool = await Unsteady(client, redis, tenants).read()
    finally:
        await client.aclose()

    assert pool.unaccounted == unaccounted

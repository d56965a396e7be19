"""What only Redis shows of the ingress queues: what RQ sees, what is left behind, what is asked."""

from collections.abc import AsyncIterator
from typing import Final

import pytest
from redis import Redis
from rq import Queue
from support import assignment, record, redis_broker, submission

from preble.broker.redis import RedisBroker
from preble.broker.redis_peek import DESCRIBED_AT_ONCE
from preble.messages import WaitingJob

pytestmark = pytest.mark.anyio

POOL: Final = "blue"
INGRESSES: Final = f"preble:{POOL}:ingresses"


@pytest.fixture
async def broker(redis: Redis, redis_url: str) -> AsyncIterator[RedisBroker]:
    del redis  # emptied first
    made = redis_broker(redis_url, POOL)
    yield made
    await made.close()


async def admit(broker: RedisBroker, name: str, tenant: str) -> None:
    assert await broker.admit([[submission(name, tenant=tenant)]]) == [None]


async def route(broker: RedisBroker, jobs: list[WaitingJob]) -> list[bool]:
    await broker.register(record(), lease_s=60)
    token = await broker.lead("leader", ttl_s=60)
    assert token
    return await broker.route(token, [(job.ingress, assignment(job)) for job in jobs])


def rq_queues(redis: Redis) -> dict[str, int]:
    """As `rq info` shows them, without those of instances."""
    queues = Queue.all(connection=redis)
    return {queue.name: queue.count for queue in queues if ".ingress." in queue.name}


async def test_rq_sees_a_queue_while_jobs_wait_in_it_and_no_longer(
    broker: RedisBroker, redis: Redis
) -> None:
    await admit(broker, "a", "acme")
    await admit(broker, "b", "acme")
    await admit(broker, "c", "other")
    assert rq_queues(redis) == {"blue.ingress.normal.acme": 2, "blue.ingress.normal.other": 1}
    first, second, third = await broker.peek(10)
    assert await route(broker, [first, third]) == [True, True]
    assert rq_queues(redis) == {"blue.ingress.normal.acme": 1}
    assert await route(broker, [second]) == [True]
    assert rq_queues(redis) == {}
    assert redis.scard(INGRESSES) == 0
    await admit(broker, "d", "other")
    assert rq_queues(redis) == {"blue.ingress.normal.other": 1}


async def test_tenants_that_come_and_go_leave_no_key_behind(
    broker: RedisBroker, redis: Redis
) -> None:
    for number in range(20):
        await admit(broker, f"j{number}", f"t{number}")
        await route(broker, await broker.peek(1))
    keys = [str(key) for key in redis.keys("*")]
    assert keys
    # Of the jobs that are still kept, the lists.
    keys = [key for key in keys if ":jobs:" not in key]
    assert not [key for key in keys if "t19" in key or "ingress" in key]


async def test_a_queue_emptied_behind_our_back_is_forgotten(
    broker: RedisBroker, redis: Redis
) -> None:
    await admit(broker, "a", "acme")
    redis.delete("rq:queue:blue.ingress.normal.acme")
    assert await broker.peek(10) == []
    assert rq_queues(redis) == {}
    assert redis.scard(INGRESSES) == 0


@pytest.mark.parametrize("was_seen", [True, False])
async def test_a_job_deleted_behind_our_back_leaves_its_queue(
    broker: RedisBroker, redis: Redis, *, was_seen: bool
) -> None:
    """One that the scheduler knows already when it is routed, another when it is first seen."""
    await admit(broker, "a", "acme")
    seen = await broker.peek(10) if was_seen else []
    redis.delete("rq:job:a")
    if was_seen:
        assert await route(broker, seen) == [False]
    assert await broker.peek(10) == []
    assert rq_queues(redis) == {}


def times_described(redis: Redis) -> int:
    """Jobs whose unchanging fields were read."""
    stats = redis.info("commandstats")
    assert isinstance(stats, dict)
    return int(stats.get("cmdstat_hmget", {}).get("calls", 0))


def calls(redis: Redis) -> int:
    """Scripts that were called."""
    stats = redis.info("commandstats")
    assert isinstance(stats, dict)
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


async def test_few_jobs_that_are_new_are_seen_with_one_call(
    broker: RedisBroker, redis: Redis
) -> None:
    """Each of them waits for it; that many are told in parts, so that no call blocks long."""
    await broker.peek(100)  # loads the script
    await broker.admit([[submission(f"j{number}") for number in range(DESCRIBED_AT_ONCE)]])
    before = calls(redis)
    seen = await broker.peek(100)
    assert calls(redis) == before + 1
    assert [job.job_id for job in seen] == [f"j{number}" for number in range(DESCRIBED_AT_ONCE)]
    await route(broker, seen)
    await broker.admit([[submission(f"k{number}") for number in range(DESCRIBED_AT_ONCE + 1)]])
    before = calls(redis)
    assert len(await broker.peek(100)) == DESCRIBED_AT_ONCE + 1
    assert calls(redis) >= before + 2


async def test_what_never_changes_is_asked_once(broker: RedisBroker, redis: Redis) -> None:
    await broker.admit([[submission(f"j{number}", keys=(number,)) for number in range(9)]])
    first = await broker.peek(8)
    asked = times_described(redis)
    again = await broker.peek(8)
    assert times_described(redis) == asked
    assert [(job.job_id, job.spec, job.block_keys) for job in again] == [
        (job.job_id, job.spec, job.block_keys) for job in first
    ]
    assert len({job.block_keys for job in again}) == 8
    assert [job.job_id for job in await broker.peek(9)][8] == "j8"
    assert times_described(redis) == asked + 1


async def test_only_what_was_last_seen_is_remembered(broker: RedisBroker, redis: Redis) -> None:
    await broker.admit([[submission(f"j{number}") for number in range(9)]])
    await broker.peek(8)
    await broker.peek(2)
    asked = times_described(redis)
    await broker.peek(8)
    assert times_described(redis) == asked + 6

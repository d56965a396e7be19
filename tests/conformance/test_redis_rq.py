"""What RQ's records say of a pool, and round trips that are counted."""

from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry
from queue_support import BROKEN, Hands
from redis import Redis
from support import SMALL_BOUNDS, completed, record

from preble.broker.redis import RedisBroker
from preble.messages import Outcome, RqView
from preble.metrics import RedisCalls

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hands(redis: Redis, redis_url: str) -> AsyncIterator[Hands]:
    del redis  # emptied first
    made = RedisBroker(redis_url, "seen", bounds=SMALL_BOUNDS, max_attempts=3, result_ttl_s=60)
    yield Hands(made)
    await made.close()


async def test_workers_and_jobs_are_seen_as_rq_has_them_and_tenants_are_summed_up(
    hands: Hands,
) -> None:
    assert await hands.broker.counts.rq_view() == RqView()
    await hands.admit("a", "b")
    one, other = await hands.run()
    outcomes = [completed(one.lease), Outcome(other.lease, failure=BROKEN)]
    assert all(await hands.broker.finish(record(), outcomes))
    for tenant in ("acme", "globex"):
        await hands.admit(f"of {tenant}", tenant=tenant)

    view = await hands.broker.counts.rq_view()

    (worker,) = view.workers
    assert worker.name == "seen.instance.gpu0"
    assert (worker.succeeded, worker.failed) == (1, 1)
    assert worker.working_s >= 0
    assert view.jobs["seen.ingress.normal", "queued"] == 2
    assert view.jobs[worker.name, "finished"] == view.jobs[worker.name, "failed"] == 1
    assert not any("acme" in queue for queue, _ in view.jobs)


async def test_the_time_of_a_worker_s_jobs_is_summed_up(hands: Hands, redis: Redis) -> None:
    await hands.admit("a")
    (running,) = await hands.run()
    started_ms = redis.hget(f"rq:job:{running.job_id}", "preble_started_ms")
    redis.hset(f"rq:job:{running.job_id}", "preble_started_ms", int(started_ms or 0) - 5_000)
    assert await hands.broker.finish(record(), [completed(running.lease)]) == [True]
    (worker,) = (await hands.broker.counts.rq_view()).workers
    assert 5 <= worker.working_s < 60


async def test_a_claimed_job_says_how_long_it_waited_by_the_clock_of_redis(
    hands: Hands, redis: Redis
) -> None:
    await hands.admit("a")
    await hands.place()
    submitted_ms = redis.hget("rq:job:a", "preble_submitted_ms")
    redis.hset("rq:job:a", "preble_submitted_ms", int(submitted_ms or 0) - 7_000)
    (claimed,) = await hands.claim()
    assert 7 <= claimed.waited_s < 60


async def test_round_trips_are_counted_by_script_and_command(redis_url: str, redis: Redis) -> None:
    del redis
    registry = CollectorRegistry()
    broker = RedisBroker(
        redis_url, "seen", bounds=SMALL_BOUNDS, max_attempts=3, result_ttl_s=60,
        calls=RedisCalls(registry),
    )  # fmt: skip
    hands = Hands(broker)
    await hands.admit("a")
    await hands.run()
    await broker.counts.stats()
    await broker.close()

    def count(call: str) -> float | None:
        return registry.get_sample_value("preble_redis_call_seconds_count", {"call": call})

    assert count("claim") == count("route") == 1
    assert count("smembers") == 1
    assert registry.get_sample_value("preble_redis_call_seconds_count", {"call": "evalsha"}) is None

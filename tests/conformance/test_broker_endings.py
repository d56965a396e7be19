"""How jobs end that no execution finishes: cancelled, or too late. On both brokers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
from redis import Redis
from support import assignment, completed, record, redis_broker, submission

from preble.broker import Broker
from preble.broker.answers import CANCELLED, DEADLINE_PASSED
from preble.broker.redis import RedisBroker
from preble.messages import (
    ClaimedJob,
    InstanceId,
    JobEnded,
    JobId,
    JobState,
    LeaderToken,
    Ring,
)

pytestmark = pytest.mark.anyio

LEASE_S: Final = 60.0
TOO_LATE_S: Final = 0.0
"""A deadline that has passed the moment the job is admitted."""

SOON_S: Final = 0.4
STATES: Final = ("waiting", "assigned", "running")


@pytest.fixture
async def on_redis(redis: Redis, redis_url: str) -> AsyncIterator[RedisBroker]:
    """For what only Redis shows."""
    del redis  # emptied first
    made = redis_broker(redis_url)
    yield made
    await made.close()


async def leader(broker: Broker) -> LeaderToken:
    token = await broker.lead("leader", ttl_s=LEASE_S)
    assert token
    return token


async def admit(broker: Broker, *names: str, deadline_s: float | None = None) -> None:
    jobs = [submission(name, deadline_s=deadline_s) for name in names]
    assert await broker.admit([jobs]) == [None]


async def place(broker: Broker) -> list[bool]:
    waiting = await broker.peek(100)
    return await broker.route(
        await leader(broker), [(job.ingress, assignment(job)) for job in waiting]
    )


async def claim(broker: Broker, number: int = 1) -> list[ClaimedJob]:
    return await broker.claim(
        record(), number=number, jobs=8, tokens=10_000, num_held=0, lease_s=LEASE_S
    )


async def bring(
    broker: Broker, state: str, *names: str, deadline_s: float | None = None
) -> list[ClaimedJob]:
    """New jobs as far as a state, on gpu0."""
    await broker.register(record(), lease_s=LEASE_S)
    await admit(broker, *names, deadline_s=deadline_s)
    if state != "waiting":
        assert all(await place(broker))
    return await claim(broker) if state == "running" else []


async def state(broker: Broker, name: str) -> JobState:
    view = await broker.view(JobId(name))
    assert view
    return view.state


async def assert_nothing_is_left(broker: Broker) -> None:
    stats = await broker.counts.stats()
    assert (stats.waiting, stats.assigned, stats.running, stats.prompt_bytes) == (0, 0, 0, 0)
    assert await broker.peek(100) == []
    assert await claim(broker, 99) == []


# Cancelling.


@pytest.mark.parametrize("where", STATES)
async def test_a_job_is_cancelled_wherever_it_stands(broker: Broker, where: str) -> None:
    await bring(broker, where, "a")
    assert await broker.cancel([JobId("a")]) == [JobState.CANCELLED]
    view = await broker.view(JobId("a"))
    assert view
    assert (view.state, view.failure, view.result) == (JobState.CANCELLED, CANCELLED, None)
    assert view.ended_at_s
    assert (await broker.counts.stats()).totals["cancelled"] == 1
    await assert_nothing_is_left(broker)


@pytest.mark.parametrize("where", STATES)
async def test_cancelling_again_says_the_same(broker: Broker, where: str) -> None:
    await bring(broker, where, "a")
    first = await broker.cancel([JobId("a"), JobId("a")])
    assert first == await broker.cancel([JobId("a"), JobId("a")]) == [JobState.CANCELLED] * 2
    assert (await broker.counts.stats()).totals["cancelled"] == 1


async def test_what_has_ended_stays_as_it_is(broker: Broker) -> None:
    (job,) = await bring(broker, "running", "a")
    await broker.finish(record(), [completed(job.lease)])
    assert await broker.cancel([JobId("a")]) == [JobState.COMPLETED]
    assert await state(broker, "a") is JobState.COMPLETED


async def test_the_unknown_is_told_from_what_has_ended(broker: Broker) -> None:
    await admit(broker, "a")
    assert await broker.cancel([JobId("nobody"), JobId("a")]) == [None, JobState.CANCELLED]


async def test_others_stay_in_their_order(broker: Broker) -> None:
    await admit(broker, "a", "b", "c")
    await broker.cancel([JobId("b")])
    assert [job.job_id for job in await broker.peek(9)] == ["a", "c"]


async def test_a_cancelled_execution_cannot_finish_and_its_lease_is_lost(broker: Broker) -> None:
    (job,) = await bring(broker, "running", "a")
    await broker.cancel([JobId("a")])
    assert await broker.finish(record(), [completed(job.lease)]) == [False]
    assert await broker.renew(record(), [job.lease], lease_s=LEASE_S) == [job.lease]
    assert await state(broker, "a") is JobState.CANCELLED


async def test_the_worker_is_called_at_once_and_once(broker: Broker) -> None:
    await bring(broker, "running", "a")
    gpu0 = InstanceId("gpu0")
    assert await broker.listen(gpu0, timeout_s=0.01) == {Ring.ASSIGNED}
    listening = asyncio.create_task(broker.listen(gpu0, timeout_s=20))
    await broker.cancel([JobId("a")])
    assert await listening == {Ring.RECALLED}
    assert await broker.listen(gpu0, timeout_s=0.01) == frozenset()


@pytest.mark.parametrize(("where", "hears"), [("waiting", 0), ("assigned", 1), ("running", 1)])
async def test_the_scheduler_hears_of_what_it_placed(
    broker: Broker, where: str, hears: int
) -> None:
    await bring(broker, where, "a")
    cursor = (await broker.bulletin.load_pool()).cursor
    await broker.cancel([JobId("a")])
    news = await broker.bulletin.follow(cursor, timeout_s=0)
    assert list(news.signals) == [JobEnded(JobId("a"), InstanceId("gpu0"), 0)] * hears


async def test_a_cancelled_job_is_not_admitted_again(broker: Broker) -> None:
    """A client that never heard that it was accepted repeats itself."""
    await bring(broker, "waiting", "a")
    await broker.cancel([JobId("a")])
    await admit(broker, "a")
    assert await state(broker, "a") is JobState.CANCELLED
    await assert_nothing_is_left(broker)


async def test_rq_lists_what_was_cancelled_on_an_instance(
    on_redis: RedisBroker, redis: Redis
) -> None:
    await bring(on_redis, "running", "a")
    await on_redis.cancel([JobId("a")])
    assert redis.hget("rq:job:a", "status") == b"canceled"
    (registry,) = redis.keys("rq:canceled:*.instance.gpu0")
    assert redis.zrange(registry, 0, -1) == [b"a"]


# Deadlines.


async def test_a_deadline_is_shown(broker: Broker) -> None:
    await admit(broker, "a", deadline_s=7.5)
    view = await broker.view(JobId("a"))
    assert view
    assert view.deadline_at_s == pytest.approx(view.submitted_at_s + 7.5, abs=0.002)


async def test_what_is_late_is_neither_placed_nor_lost(broker: Broker) -> None:
    await bring(broker, "waiting", "a", deadline_s=TOO_LATE_S)
    assert await place(broker) == [False]
    assert await state(broker, "a") is JobState.WAITING


async def test_what_waits_too_long_expires(broker: Broker) -> None:
    await bring(broker, "waiting", "a", deadline_s=TOO_LATE_S)
    await admit(broker, "b", deadline_s=LEASE_S)
    reaped = await broker.reap(await leader(broker), limit=100)
    assert reaped.expired == ("a",)
    view = await broker.view(JobId("a"))
    assert view
    assert (view.state, view.failure) == (JobState.EXPIRED, DEADLINE_PASSED)
    assert await state(broker, "b") is JobState.WAITING
    assert (await broker.counts.stats()).totals["expired"] == 1


async def test_what_is_late_is_not_begun_and_those_behind_it_are(broker: Broker) -> None:
    await bring(broker, "assigned", "a", deadline_s=SOON_S)
    await bring(broker, "assigned", "b")
    await asyncio.sleep(SOON_S * 1.5)  # by the clock of the queue, which is no test's
    assert [job.job_id for job in await claim(broker)] == ["b"]
    assert await state(broker, "a") is JobState.EXPIRED


async def test_what_runs_too_long_is_stopped(broker: Broker) -> None:
    (job,) = await bring(broker, "running", "a", deadline_s=SOON_S)
    await broker.listen(InstanceId("gpu0"), timeout_s=0.01)
    await asyncio.sleep(SOON_S * 1.5)  # as above
    reaped = await broker.reap(await leader(broker), limit=100)
    assert reaped.expired == ("a",)
    assert await broker.listen(InstanceId("gpu0"), timeout_s=0.01) == {Ring.RECALLED}
    assert await broker.finish(record(), [completed(job.lease)]) == [False]
    await assert_nothing_is_left(broker)


async def test_reaping_takes_no_more_than_it_is_told(broker: Broker) -> None:
    await admit(broker, "a", "b", "c", deadline_s=TOO_LATE_S)
    token = await leader(broker)
    assert len((await broker.reap(token, limit=2)).expired) == 2
    assert len((await broker.reap(token, limit=2)).expired) == 1


async def test_a_result_in_time_is_kept_though_the_deadline_comes_later(broker: Broker) -> None:
    (job,) = await bring(broker, "running", "a", deadline_s=LEASE_S)
    assert await broker.finish(record(), [completed(job.lease)]) == [True]
    assert (await broker.reap(await leader(broker), limit=100)).expired == ()


async def test_of_what_has_ended_no_deadline_is_kept(on_redis: RedisBroker, redis: Redis) -> None:
    (job,) = await bring(on_redis, "running", "a", deadline_s=LEASE_S)
    await admit(on_redis, "b", deadline_s=LEASE_S)
    await on_redis.cancel([JobId("b")])
    await on_redis.finish(record(), [completed(job.lease)])
    assert redis.keys("preble:*:deadlines") == []


async def test_views_of_many_are_views_of_each_without_positions(broker: Broker) -> None:
    await bring(broker, "running", "a")
    await admit(broker, "b", "c")
    await broker.cancel([JobId("b")])
    names = [JobId(name) for name in ("c", "nobodys", "a", "b")]
    views = await broker.views(names)
    alone = [await broker.view(name) for name in names]
    assert views[1:] == alone[1:]
    assert views[0]
    assert alone[0]
    assert (alone[0].position, views[0].position, views[0].state) == (0, None, JobState.WAITING)
    assert await broker.views([]) == []

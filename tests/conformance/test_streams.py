"""How ends and tokens reach those who follow jobs. On both brokers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
from msgspec.structs import replace
from redis import Redis
from support import assignment, completed, record, redis_broker, submission

from preble.broker import Broker
from preble.broker.redis import RedisBroker
from preble.broker.streams import INBOX_TTL_S, LOG_START, MOST_LOG_BYTES, InboxNews
from preble.messages import (
    ClaimedJob,
    ExecutionId,
    JobFailure,
    JobId,
    LeaderToken,
    Outcome,
    Submission,
    TokenDelta,
)

pytestmark = pytest.mark.anyio

LEASE_S: Final = 60.0
INBOX: Final = "api1"
WITHIN_S: Final = 20.0


@pytest.fixture
async def on_redis(redis: Redis, redis_url: str) -> AsyncIterator[RedisBroker]:
    """For what only Redis shows."""
    del redis  # emptied first
    made = redis_broker(redis_url, "streams")
    yield made
    await made.close()


def job(
    name: str, *, inbox: str = INBOX, is_logged: bool = False, deadline_s: float | None = None
) -> Submission:
    made = submission(name, deadline_s=deadline_s)
    return replace(made, spec=replace(made.spec, inbox=inbox, is_logged=is_logged))


async def leader(broker: Broker) -> LeaderToken:
    token = await broker.lead("leader", ttl_s=LEASE_S)
    assert token
    return token


async def place(broker: Broker) -> None:
    waiting = await broker.peek(100)
    moves = [(each.ingress, assignment(each)) for each in waiting]
    assert all(await broker.route(await leader(broker), moves))


async def running(broker: Broker, *jobs: Submission, number: int = 1) -> list[ClaimedJob]:
    """Jobs that run on gpu0."""
    await broker.register(record(), lease_s=LEASE_S)
    assert await broker.admit([jobs]) == [None]
    await place(broker)
    return await claim(broker, number)


async def claim(broker: Broker, number: int) -> list[ClaimedJob]:
    return await broker.claim(
        record(), number=number, jobs=8, tokens=10_000, num_held=0, lease_s=LEASE_S
    )


def delta(of: ClaimedJob, text: str = "hello", *, at: int = 0) -> TokenDelta:
    return TokenDelta(of.job_id, of.execution_id, at, at, (7, 8), text)


async def heard(broker: Broker) -> InboxNews:
    """What is in the inbox; the first call of a test opens it."""
    return await broker.streams.listen(INBOX, timeout_s=0)


async def open_inbox(broker: Broker) -> None:
    while (await heard(broker)) != InboxNews():
        pass


# Ends.


async def test_who_is_named_hears_of_each_end_once(broker: Broker) -> None:
    await open_inbox(broker)
    one, other = await running(broker, job("a"), job("b"))
    failed = Outcome(other.lease, failure=JobFailure("x", "y"))
    await broker.finish(record(), [completed(one.lease), failed])
    assert await heard(broker) == InboxNews(ended=(JobId("a"), JobId("b")))
    assert await heard(broker) == InboxNews()
    await broker.finish(record(), [completed(one.lease)])
    assert await heard(broker) == InboxNews()


async def test_cancelled_and_late_jobs_are_told_too(broker: Broker) -> None:
    await open_inbox(broker)
    await broker.admit([[job("waits"), job("late", deadline_s=0.0)]])
    await broker.cancel([JobId("waits")])
    await broker.reap(await leader(broker), limit=100)
    assert set((await heard(broker)).ended) == {"waits", "late"}


async def test_a_job_whose_attempts_are_used_up_is_told(broker: Broker) -> None:
    await open_inbox(broker)
    claimed = await running(broker, job("a"))
    for number in (2, 3):
        await give_back(broker, claimed)
        assert await heard(broker) == InboxNews()
        await place(broker)
        claimed = await claim(broker, number)
    await give_back(broker, claimed)
    assert await heard(broker) == InboxNews(ended=(JobId("a"),))


async def give_back(broker: Broker, claimed: list[ClaimedJob]) -> None:
    leases = [each.lease for each in claimed]
    await broker.release(record(), leases, is_attempt=True)
    await broker.reap(await leader(broker), limit=100)


async def test_other_inboxes_hear_nothing(broker: Broker) -> None:
    await open_inbox(broker)
    await broker.admit([[job("nobody", inbox=""), job("other", inbox="api2")]])
    await broker.cancel([JobId("nobody"), JobId("other")])
    assert await heard(broker) == InboxNews()


async def test_listening_waits_for_something_to_come(broker: Broker) -> None:
    await open_inbox(broker)
    await broker.admit([[job("a")]])
    listening = asyncio.create_task(broker.streams.listen(INBOX, timeout_s=WITHIN_S))
    await asyncio.sleep(0)
    await broker.cancel([JobId("a")])
    assert (await listening).ended == (JobId("a"),)


async def test_a_job_admitted_again_tells_whom_it_told_at_first(broker: Broker) -> None:
    await open_inbox(broker)
    await broker.admit([[job("a")]])
    await broker.admit([[job("a", inbox="api2")]])
    await broker.cancel([JobId("a")])
    assert (await heard(broker)).ended == (JobId("a"),)


# Tokens.


async def test_tokens_come_in_order_and_with_ends(broker: Broker) -> None:
    await open_inbox(broker)
    (one,) = await running(broker, job("a"))
    await broker.streams.publish({INBOX: [delta(one, "hel"), delta(one, "lo", at=2)]}, [])
    await broker.streams.publish({INBOX: [delta(one, "!", at=4)], "api2": [delta(one)]}, [])
    await broker.finish(record(), [completed(one.lease)])
    news = await heard(broker)
    assert news.deltas == (delta(one, "hel"), delta(one, "lo", at=2), delta(one, "!", at=4))
    assert news.ended == (JobId("a"),)


async def test_who_does_not_listen_has_no_inbox(on_redis: RedisBroker, redis: Redis) -> None:
    (one,) = await running(on_redis, job("a"))
    await on_redis.streams.publish({INBOX: [delta(one)]}, [])
    await on_redis.finish(record(), [completed(one.lease)])
    assert redis.keys("preble:*:inbox:*") == []


async def test_an_inbox_goes_with_its_reader(on_redis: RedisBroker, redis: Redis) -> None:
    await open_inbox(on_redis)
    (one,) = await running(on_redis, job("a"))
    await on_redis.streams.publish({INBOX: [delta(one)]}, [])
    assert 0 < redis.ttl("preble:streams:inbox:api1") <= INBOX_TTL_S


# Logs.


async def test_a_log_is_read_from_any_place(broker: Broker) -> None:
    (one,) = await running(broker, job("a", is_logged=True))
    assert (await broker.streams.read_log(one.job_id, LOG_START)).deltas == ()
    await broker.streams.publish({}, [delta(one, "hel")])
    page = await broker.streams.read_log(one.job_id, LOG_START)
    assert page.deltas == (delta(one, "hel"),)
    await broker.streams.publish({}, [delta(one, "lo", at=2)])
    assert (await broker.streams.read_log(one.job_id, page.cursor)).deltas == (
        delta(one, "lo", at=2),
    )
    assert len((await broker.streams.read_log(one.job_id, LOG_START)).deltas) == 2


async def test_a_log_can_be_read_after_the_end(broker: Broker) -> None:
    (one,) = await running(broker, job("a", is_logged=True))
    await broker.streams.publish({}, [delta(one)])
    await broker.finish(record(), [completed(one.lease)])
    assert (await broker.streams.read_log(one.job_id, LOG_START)).deltas == (delta(one),)


async def test_only_the_execution_that_runs_is_logged(broker: Broker) -> None:
    (one,) = await running(broker, job("a", is_logged=True))
    stranger = replace(delta(one), execution_id=ExecutionId("another"))
    await broker.streams.publish({}, [stranger])
    await broker.cancel([one.job_id])
    await broker.streams.publish({}, [delta(one)])
    assert (await broker.streams.read_log(one.job_id, LOG_START)).deltas == ()


async def test_a_log_is_bounded(broker: Broker) -> None:
    (one,) = await running(broker, job("a", is_logged=True))
    portion = "x" * (MOST_LOG_BYTES // 4 - 1_000)
    for number in range(6):
        await broker.streams.publish({}, [delta(one, portion, at=number)])
    page = await broker.streams.read_log(one.job_id, LOG_START)
    assert [each.char_at for each in page.deltas] == [0, 1, 2, 3]


async def test_a_retried_job_begins_a_new_log(broker: Broker) -> None:
    (one,) = await running(broker, job("a", is_logged=True))
    await broker.streams.publish({}, [delta(one, "old")])
    await broker.finish(record(), [Outcome(one.lease, failure=JobFailure("x", "y"))])
    await broker.retry([one.job_id])
    await place(broker)
    (again,) = await claim(broker, 2)
    await broker.streams.publish({}, [delta(again, "new")])
    assert (await broker.streams.read_log(one.job_id, LOG_START)).deltas == (delta(again, "new"),)


async def test_a_log_expires_with_the_result(on_redis: RedisBroker, redis: Redis) -> None:
    (one,) = await running(on_redis, job("a", is_logged=True))
    await on_redis.streams.publish({}, [delta(one)])
    await on_redis.finish(record(), [completed(one.lease)])
    left_s = redis.ttl("preble:streams:log:a")
    assert left_s == redis.ttl("rq:job:a") > 0

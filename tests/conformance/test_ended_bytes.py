"""What Redis really takes for jobs that have ended, against what is counted of them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, cast

import pytest
from msgspec.structs import replace
from queue_support import BROKEN, WIDE, Hands
from redis import Redis
from support import completed, record, redis_broker, submission

from preble.messages import JobId, Outcome, Submission, TokenDelta, Webhook

pytestmark = pytest.mark.anyio

POOL: Final = "ended"
MOST_BYTES: Final = 1024 * 1024
SHARED: Final = {"signals", "instance:gpu0", "doorbell:gpu0", "recalls:gpu0", "counts", "totals"}
"""Keys that do not grow with jobs that have ended."""


@pytest.fixture
async def hands(redis: Redis, redis_url: str) -> AsyncIterator[Hands]:
    del redis  # emptied first
    made = redis_broker(redis_url, POOL, replace(WIDE, max_ended_bytes=MOST_BYTES))
    yield Hands(made)
    await made.close()


@pytest.fixture
async def narrow(redis: Redis, redis_url: str) -> AsyncIterator[Hands]:
    """Of a pool that keeps only what ended last."""
    del redis  # emptied first
    made = redis_broker(redis_url, POOL, replace(WIDE, max_ended_bytes=1))
    yield Hands(made)
    await made.close()


def used_bytes(redis: Redis) -> int:
    """Of all keys that jobs which have ended are in."""
    keys: Any = redis.keys("*")
    shared = {f"preble:{POOL}:{name}".encode() for name in SHARED}
    client: Any = redis
    return sum(client.memory_usage(key, samples=0) for key in keys if key not in shared)


def counted_bytes(redis: Redis) -> int:
    counted: Any = redis.hget(f"preble:{POOL}:counts", "ended_bytes")
    return int(counted)


def named(round_number: int) -> list[str]:
    """As long as real ones."""
    return [f"job_{round_number * 50 + number:032x}" for number in range(50)]


def great(name: str) -> Submission:
    """A job whose deadline has passed, with as many stop texts as are taken."""
    job = submission(name, deadline_s=0.0)
    stop = tuple(f"{number:0256}" for number in range(16))
    return replace(job, spec=replace(job.spec, sampling=replace(job.spec.sampling, stop=stop)))


async def test_jobs_that_expire_at_once_with_great_stop_lists_stay_within_the_bound(
    hands: Hands, redis: Redis
) -> None:
    """Nothing else bounds them: they never wait long enough to fill the queue."""
    rounds = [named(number) for number in range(20)]
    for names in rounds:
        assert await hands.broker.admit([[great(name) for name in names]]) == [None]
        await hands.reap()
        assert counted_bytes(redis) <= MOST_BYTES
    assert await hands.state(rounds[0][0]) is None
    assert await hands.state(rounds[-1][-1]) is not None
    assert len(redis.keys("rq:job:*")) < 200
    assert redis.zcard(f"preble:{POOL}:jobs:*") == len(redis.keys("rq:job:*"))
    assert_close(redis)


def assert_close(redis: Redis) -> None:
    """What is counted is what is used, up to half as much more."""
    counted, used = counted_bytes(redis), used_bytes(redis)
    assert used / 1.5 < counted < used * 1.5, (counted, used)


async def of_answers(hands: Hands) -> None:
    await finish(hands, "x" * 5_000)


async def of_short_answers(hands: Hands) -> None:
    await finish(hands, "x")


async def finish(hands: Hands, text: str) -> None:
    await hands.admit(*named(0))
    outcomes = [completed(job.lease, text) for job in await hands.run()]
    await hands.broker.finish(record(), outcomes)


async def of_failures(hands: Hands) -> None:
    await hands.fail(*named(0))


async def of_failures_that_were_retried(hands: Hands) -> None:
    await hands.fail(*named(0))
    for _ in range(3):
        await hands.broker.retry([JobId(name) for name in named(0)])
        await hands.fail_waiting()


async def of_cancelled(hands: Hands) -> None:
    await hands.admit(*named(0))
    await hands.broker.cancel([JobId(name) for name in named(0)])


async def of_webhooks(hands: Hands) -> None:
    hook = Webhook("https://receiver.example/" + "x" * 500, "job")
    jobs = [replace(submission(name), webhook=hook) for name in named(0)]
    await hands.broker.admit([jobs])
    await hands.broker.cancel([job.job_id for job in jobs])


async def of_logs(hands: Hands) -> None:
    await hands.admit(*named(0))
    claimed = await hands.run()
    for at in range(100):
        deltas = [
            TokenDelta(job.job_id, job.execution_id, at, at, (at,), "token") for job in claimed
        ]
        await hands.broker.streams.publish({}, deltas)
    await hands.broker.finish(record(), [completed(job.lease) for job in claimed])


@pytest.mark.parametrize(
    "end",
    [
        of_answers, of_short_answers, of_failures, of_failures_that_were_retried, of_cancelled,
        of_webhooks, of_logs,
    ],
)  # fmt: skip
async def test_what_is_counted_is_what_redis_uses(hands: Hands, redis: Redis, end: Any) -> None:  # noqa: ANN401  # one of the above
    await end(hands)
    assert len(redis.keys("rq:job:*")) == 50
    assert_close(redis)


def left(redis: Redis, names: Sequence[str]) -> list[bytes]:
    """Keys and members that name a job."""
    found: list[bytes] = []
    keys: Any = redis.keys("*")
    for key in keys:
        members: Any = redis.zrange(key, 0, -1) if redis.type(key) == b"zset" else []
        texts: list[bytes] = [key, *members]
        found += [key for text in texts for name in names if name.encode() in text]
    return found


async def test_of_dropped_jobs_nothing_is_left_anywhere(narrow: Hands, redis: Redis) -> None:
    hands, broker = narrow, narrow.broker
    await hands.admit("completes", "stopped")
    completes, _ = await hands.run()
    delta = TokenDelta(completes.job_id, completes.execution_id, 0, 0, (1,), "a")
    await broker.streams.publish({}, [delta])
    await broker.finish(record(), [completed(completes.lease)])
    await broker.cancel([JobId("stopped")])
    await hands.fail("fails")
    await hands.admit("expires", deadline_s=0.0)
    await hands.reap()
    assert left(redis, ["expires"])
    await hands.admit("last")
    await broker.cancel([JobId("last")])
    await hands.reap()
    assert left(redis, ["completes", "stopped", "fails", "expires"]) == []
    assert redis.hget(f"preble:{POOL}:counts", "dead_letter_bytes") == b"0"


async def test_a_job_under_the_id_of_an_expired_one_is_not_dropped(
    narrow: Hands, redis: Redis
) -> None:
    await narrow.fail("a")
    redis.delete("rq:job:a")  # expired, and not yet swept
    await narrow.admit("a", "b")
    await narrow.broker.cancel([JobId("b")])
    assert await narrow.state("a") == "waiting"
    (job,) = await narrow.run()
    assert job.prompt


async def test_jobs_that_ended_under_an_earlier_version_count_nothing(
    hands: Hands, redis: Redis
) -> None:
    """They remember no bytes, and their entries name none."""
    await hands.fail("old", "older")
    entries: Any = redis.zrange(f"preble:{POOL}:ended", 0, -1, withscores=True)
    for entry, score in entries:
        order, _, rest = entry.split(b":", 2)
        redis.zrem(f"preble:{POOL}:ended", entry)
        redis.zadd(f"preble:{POOL}:ended", {order + b":" + rest: score})
    for name in ("old", "older"):
        redis.hdel(f"rq:job:{name}", "preble_ended_bytes")
    redis.hset(f"preble:{POOL}:counts", "ended_bytes", 0)
    assert await hands.broker.retry([JobId("old")]) == ["waiting"]
    assert redis.zcard(f"preble:{POOL}:ended") == 1
    await hands.fail_waiting()
    after = counted_bytes(redis)
    [first, _] = cast("list[bytes]", redis.zrange(f"preble:{POOL}:ended", 0, -1))
    redis.zadd(f"preble:{POOL}:ended", {first: 1})
    redis.delete("rq:job:older")
    await hands.reap()
    assert redis.zcard(f"preble:{POOL}:ended") == 1
    assert counted_bytes(redis) == after


async def test_what_expires_counts_no_more(hands: Hands, redis: Redis) -> None:
    await hands.fail("a")
    entries: Any = redis.zrange(f"preble:{POOL}:ended", 0, -1)
    redis.zadd(f"preble:{POOL}:ended", {entries[0]: 1})
    redis.delete("rq:job:a")
    await hands.reap()
    assert counted_bytes(redis) == 0


async def test_what_ends_after_the_clock_was_set_back_is_not_dropped_before_the_rest(
    narrow: Hands, redis: Redis
) -> None:
    await narrow.admit("early", "late")
    await narrow.broker.cancel([JobId("early")])
    entries: Any = redis.zrange(f"preble:{POOL}:ended", 0, -1)
    redis.zincrby(f"preble:{POOL}:ended", 3_600_000, entries[0])
    await narrow.broker.cancel([JobId("late")])
    await narrow.reap()
    assert await narrow.state("early") is None
    assert await narrow.state("late") == "cancelled"


async def test_a_failure_of_one_call_leaves_the_count_whole(hands: Hands, redis: Redis) -> None:
    """Said twice, as when a reply was lost."""
    await hands.admit("a")
    (job,) = await hands.run()
    outcome = Outcome(job.lease, failure=BROKEN)
    for _ in range(2):
        assert await hands.broker.finish(record(), [outcome]) == [True]
    once = counted_bytes(redis)
    entries: Any = redis.zrange(f"preble:{POOL}:ended", 0, -1)
    assert [int(entry.split(b":")[1]) for entry in entries] == [once]

"""What only Redis shows of lists and dead letters: what expires, what is left, what RQ sees."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from queue_support import BROKEN, Hands
from redis import Redis
from support import SMALL_BOUNDS, eventually, record, redis_broker

from preble.broker.lists import JobQuery
from preble.broker.redis import RedisBroker
from preble.errors import BrokerUnavailable, PromptDropped
from preble.messages import JobId, JobState, Outcome

pytestmark = pytest.mark.anyio

POOL = "listed"
RESULT_TTL_S = 1


@pytest.fixture
async def hands(redis: Redis, redis_url: str) -> AsyncIterator[Hands]:
    del redis  # emptied first
    made = redis_broker(redis_url, POOL)
    yield Hands(made)
    await made.close()


@pytest.fixture
async def brief(redis: Redis, redis_url: str) -> AsyncIterator[Hands]:
    """Of a pool that keeps results for a second."""
    del redis  # emptied first
    made = RedisBroker(
        redis_url, POOL, bounds=SMALL_BOUNDS, max_attempts=3, result_ttl_s=RESULT_TTL_S
    )
    yield Hands(made)
    await made.close()


async def listed(hands: Hands, **query: Any) -> list[str]:  # noqa: ANN401  # fields of a query
    page = await hands.broker.list_jobs(JobQuery(is_newest_first=False, **query))
    return [job.job_id for job in page.jobs]


def list_keys(redis: Redis) -> set[bytes]:
    keys: Any = redis.keys(f"preble:{POOL}:jobs:*")
    return {key.removeprefix(b"preble:listed:jobs:") for key in keys}


def is_gone(redis: Redis, *names: str) -> bool:
    return redis.exists(*(f"rq:job:{name}" for name in names)) == 0


async def one_of_each_end(hands: Hands) -> None:
    await hands.admit("completed")
    await hands.complete_waiting()
    await hands.fail("failed")
    await hands.admit("cancelled")
    await hands.broker.cancel([JobId("cancelled")])
    await hands.admit("expired", deadline_s=0.0)
    await hands.reap()


async def test_of_jobs_whose_results_have_expired_nothing_is_left(
    brief: Hands, redis: Redis
) -> None:
    await one_of_each_end(brief)
    assert await listed(brief) == ["completed", "failed", "cancelled", "expired"]
    await brief.admit("stays")
    assert redis.exists("preble:listed:prompt:failed", "preble:listed:blocks:failed") == 2
    eventually(lambda: is_gone(redis, "completed", "failed", "cancelled", "expired"))
    await brief.reap()
    assert list_keys(redis) == {
        b"*", b"default", b"*:unfinished", b"default:unfinished",
    }  # fmt: skip
    assert redis.keys("*:failed") == []
    assert (redis.zcard("preble:listed:ended"), redis.zcard("preble:listed:dead")) == (0, 0)
    assert (await brief.broker.counts.stats()).dead_letter_bytes == 0
    assert await listed(brief) == ["stays"]


async def test_what_has_expired_is_not_listed_even_before_it_is_swept(
    brief: Hands, redis: Redis
) -> None:
    await brief.fail("a")
    await brief.admit("b")
    eventually(lambda: is_gone(redis, "a"))
    assert await listed(brief) == ["b"]
    assert await listed(brief, state=JobState.FAILED) == []


async def test_a_sweep_takes_no_more_than_it_is_told(brief: Hands, redis: Redis) -> None:
    await brief.fail("a", "b", "c")
    eventually(lambda: is_gone(redis, "a", "b", "c"))
    await brief.broker.reap(await brief.leader(), limit=2)
    assert redis.zrange("preble:listed:jobs:*", 0, -1) == [b"c"]
    await brief.broker.reap(await brief.leader(), limit=2)
    assert list_keys(redis) == set()


async def test_a_job_admitted_under_the_id_of_an_expired_one_is_not_swept(
    brief: Hands, redis: Redis
) -> None:
    """A request under an Idempotency-Key, that comes again too late."""
    await brief.fail("a")
    eventually(lambda: is_gone(redis, "a"))
    await brief.admit("a")
    await brief.reap()
    assert await listed(brief) == await listed(brief, state=JobState.WAITING) == ["a"]
    assert await listed(brief, state=JobState.FAILED) == []
    (job,) = await brief.run()
    assert job.prompt


async def test_nor_does_it_lose_its_prompt_to_the_bound_on_dead_letters(
    redis: Redis, redis_url: str
) -> None:
    bounds = replace(SMALL_BOUNDS, max_dead_letter_bytes=40)
    broker = RedisBroker(redis_url, POOL, bounds=bounds, max_attempts=3, result_ttl_s=RESULT_TTL_S)
    brief = Hands(broker)
    await brief.fail("a")
    eventually(lambda: is_gone(redis, "a"))
    await brief.admit("a", "b")
    _, b = await brief.run()
    await broker.finish(record(), [Outcome(b.lease, failure=BROKEN)])
    assert redis.zrange("preble:listed:dead", 0, -1) == [b"40:b"]
    assert redis.exists("preble:listed:prompt:a", "preble:listed:blocks:a") == 2
    await broker.close()


async def test_a_retried_job_does_not_expire(brief: Hands, redis: Redis) -> None:
    await brief.fail("a", "b")
    assert await brief.broker.retry([JobId("a")]) == [JobState.WAITING]
    eventually(lambda: is_gone(redis, "b"))
    await brief.reap()
    assert [redis.ttl(key) for key in ("rq:job:a", "preble:listed:prompt:a")] == [-1, -1]
    assert await listed(brief) == ["a"]
    (job,) = await brief.run()
    assert job.prompt


async def test_of_a_retried_job_nothing_more_is_left_than_of_others(
    brief: Hands, redis: Redis
) -> None:
    await brief.fail("a")
    await brief.broker.retry([JobId("a")])
    await brief.complete_waiting()
    eventually(lambda: is_gone(redis, "a"))
    await brief.reap()
    assert list_keys(redis) == set()
    assert redis.exists("preble:listed:ended", "preble:listed:dead") == 0


async def test_a_dropped_prompt_is_gone(redis: Redis, redis_url: str) -> None:
    bounds = replace(SMALL_BOUNDS, max_dead_letter_bytes=40)
    broker = redis_broker(redis_url, POOL, bounds)
    await Hands(broker).fail("a", "b")
    assert redis.keys("preble:listed:prompt:*") == [b"preble:listed:prompt:b"]
    assert redis.keys("preble:listed:blocks:*") == [b"preble:listed:blocks:b"]
    await broker.close()


def let_pass(redis: Redis, job: str, seconds: int) -> None:
    """As if all that happened to a job had happened earlier."""
    for field in ("preble_submitted_ms", "preble_retried_ms", "preble_deadline_ms"):
        if redis.hexists(f"rq:job:{job}", field):
            redis.hincrby(f"rq:job:{job}", field, -1_000 * seconds)


async def test_a_retried_job_waits_and_is_due_as_from_now(hands: Hands, redis: Redis) -> None:
    """Not as from its submission, which may be long ago."""
    await hands.admit("a", deadline_s=600.0)
    for _ in range(2):
        await hands.fail_waiting()
        let_pass(redis, "a", seconds=300)
        await hands.broker.retry([JobId("a")])
        (job,) = await hands.broker.peek(10)
        assert job.waited_s < 100
        view = await hands.broker.view(JobId("a"))
        assert view
        assert view.deadline_at_s
        assert abs(view.deadline_at_s - redis.time()[0] - 600) < 100


async def test_a_redis_that_is_full_takes_no_job_back_and_lists_those_it_has(
    hands: Hands, redis: Redis
) -> None:
    await hands.fail("a")
    await hands.admit("b")
    (b,) = await hands.run()
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(BrokerUnavailable):
            await hands.broker.retry([JobId("a")])
        assert await hands.broker.finish(record(), [Outcome(b.lease, failure=BROKEN)]) == [True]
        assert await listed(hands, state=JobState.FAILED) == ["a", "b"]
    finally:
        redis.config_set("maxmemory", 0)
    assert await hands.broker.retry([JobId("a"), JobId("b")]) == [JobState.WAITING] * 2


async def test_rq_lists_a_retried_job_as_queued_and_no_longer_as_failed(
    hands: Hands, redis: Redis
) -> None:
    await hands.fail("a")
    (registry,) = redis.keys("rq:failed:*")
    assert redis.zrange(registry, 0, -1) == [b"a"]
    await hands.broker.retry([JobId("a")])
    assert redis.keys("rq:failed:*") == []
    assert redis.hget("rq:job:a", "status") == b"queued"
    assert redis.lrange("rq:queue:listed.ingress.normal.default", 0, -1) == [b"a"]


async def test_a_prompt_that_somebody_deleted_cannot_be_retried(hands: Hands, redis: Redis) -> None:
    await hands.fail("a")
    redis.delete("preble:listed:prompt:a")
    (reply,) = await hands.broker.retry([JobId("a")])
    assert isinstance(reply, PromptDropped)


async def test_of_a_job_that_somebody_deleted_no_list_is_left(hands: Hands, redis: Redis) -> None:
    await hands.admit("a", "b")
    redis.delete("rq:job:a")
    await hands.place()
    assert redis.zrange("preble:listed:jobs:*", 0, -1) == [b"b"]
    assert redis.zrange("preble:listed:jobs:*:unfinished", 0, -1) == [b"b"]
    assert await listed(hands) == await listed(hands, tenant="default") == ["b"]
    assert await listed(hands, tenant="default", state=JobState.ASSIGNED) == ["b"]
    for key in redis.keys(f"preble:{POOL}:jobs:*"):
        assert redis.zrange(key, 0, -1) == [b"b"]


async def test_the_cost_of_a_page_does_not_grow_with_the_number_of_jobs(
    redis: Redis, redis_url: str
) -> None:
    """Counted in commands, for nothing is slower on a busy machine."""
    bounds = replace(SMALL_BOUNDS, max_jobs=10_000, max_prompt_bytes=1 << 30)
    broker = redis_broker(redis_url, POOL, bounds)
    hands = Hands(broker)

    async def cost(query: JobQuery) -> int:
        before = calls(redis)
        await broker.list_jobs(query)
        return calls(redis) - before

    query = JobQuery(state=JobState.WAITING, limit=5)
    await hands.admit(*(f"a{number}" for number in range(10)))
    await cost(query)  # loads the script
    few = await cost(query)
    await hands.admit(*(f"b{number}" for number in range(1_000)))
    assert await cost(query) == few
    middle = (await broker.list_jobs(replace(query, limit=500))).after
    assert await cost(replace(query, after=middle)) == few
    await broker.close()


def calls(redis: Redis) -> int:
    """Commands that scripts and clients have sent to look at lists and jobs."""
    stats: Any = redis.info("commandstats")
    names = ("cmdstat_hmget", "cmdstat_zrevrangebyscore")
    return sum(stats[name]["calls"] for name in names if name in stats)

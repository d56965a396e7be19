"""Jobs that somebody deletes behind our back, as RQ's own tools do: nothing of them is left.

Only what was sent beside their prompts, which nobody knows any more, counts until the pool is
empty.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis
from support import assignment, completed, record, redis_broker, submission

from preble.broker.bounds import Bounds
from preble.broker.redis import RedisBroker
from preble.broker.redis_scripts import Arguments, ScriptRunner
from preble.broker.sent import sent_texts
from preble.errors import QueueFull
from preble.messages import ClaimedJob, LeaderToken, pack_tokens

pytestmark = pytest.mark.anyio


@pytest.fixture
async def broker(redis: Redis, redis_url: str) -> AsyncIterator[RedisBroker]:
    del redis  # emptied first
    made = redis_broker(redis_url, "deleted")
    yield made
    await made.close()


async def leader(broker: RedisBroker) -> LeaderToken:
    token = await broker.lead("leader", ttl_s=60)
    assert token
    return token


async def place(broker: RedisBroker) -> list[bool]:
    waiting = await broker.peek(10)
    return await broker.route(
        await leader(broker), [(job.ingress, assignment(job)) for job in waiting]
    )


async def running(broker: RedisBroker, lease_s: float = 60) -> list[ClaimedJob]:
    """Jobs a and b."""
    await broker.admit([[submission("a", deadline_s=60), submission("b")]])
    await broker.register(record(), lease_s=60)
    assert await place(broker) == [True, True]
    return await broker.claim(record(), number=1, jobs=8, tokens=1_000, num_held=0, lease_s=lease_s)


def assert_only_b_counts(redis: Redis) -> None:
    a, b = submission("a", deadline_s=60), submission("b")
    beside = sent_texts(a).num_bytes - len(a.prompt)
    counted = redis.hmget("preble:deleted:counts", "jobs", "prompt_bytes")
    assert [int(each or 0) for each in counted] == [1, sent_texts(b).num_bytes + beside]
    assert_nothing_is_left(redis)


def assert_nothing_is_left(redis: Redis) -> None:
    assert [redis.keys(pattern) for pattern in ("*:a", "*:a:c-1")] == [[], []]
    assert redis.zrange("preble:deleted:deadlines", 0, -1) == []


async def test_while_it_waits(broker: RedisBroker, redis: Redis) -> None:
    await broker.admit([[submission("a", deadline_s=60), submission("b")]])
    redis.delete("rq:job:a")
    assert [job.job_id for job in await broker.peek(10)] == ["b"]
    assert_only_b_counts(redis)


async def test_as_the_last_one(broker: RedisBroker, redis: Redis) -> None:
    await broker.admit([[submission("a", deadline_s=60)]])
    redis.delete("rq:job:a")
    assert await broker.peek(10) == []
    assert redis.hmget("preble:deleted:counts", "jobs", "prompt_bytes") == [b"0", b"0"]
    assert_nothing_is_left(redis)


async def test_before_it_is_routed(broker: RedisBroker, redis: Redis) -> None:
    await broker.admit([[submission("a", deadline_s=60), submission("b")]])
    await broker.register(record(), lease_s=60)
    waiting = await broker.peek(10)
    redis.delete("rq:job:a")
    decided = [(job.ingress, assignment(job)) for job in waiting]
    assert await broker.route(await leader(broker), decided) == [False, True]
    assert_only_b_counts(redis)


async def test_before_it_is_claimed(broker: RedisBroker, redis: Redis) -> None:
    await broker.admit([[submission("a", deadline_s=60), submission("b")]])
    await broker.register(record(), lease_s=60)
    await place(broker)
    redis.delete("rq:job:a")
    claimed = await broker.claim(record(), number=1, jobs=8, tokens=1_000, num_held=0, lease_s=60)
    assert [job.job_id for job in claimed] == ["b"]
    assert_only_b_counts(redis)


async def test_while_it_runs_its_result_is_refused_and_others_are_kept(
    broker: RedisBroker, redis: Redis
) -> None:
    a, b = await running(broker)
    redis.delete("rq:job:a")
    outcomes = [completed(a.lease), completed(b.lease)]
    assert await broker.finish(record(), outcomes) == [False, True]
    assert (await broker.counts.stats()).totals["completed"] == 1
    assert (await broker.counts.stats()).running == 0
    assert redis.hmget("preble:deleted:counts", "jobs", "prompt_bytes") == [b"0", b"0"]
    assert_nothing_is_left(redis)


async def test_while_it_runs_and_its_lease_runs_out(broker: RedisBroker, redis: Redis) -> None:
    await running(broker, lease_s=0)
    redis.delete("rq:job:a")
    reaped = await broker.reap(await leader(broker), limit=10)
    assert reaped.requeued == ("b",)
    assert redis.keys("rq:wip:*") == []
    assert_only_b_counts(redis)


async def test_while_it_runs_and_is_handed_back(broker: RedisBroker, redis: Redis) -> None:
    a, b = await running(broker)
    redis.delete("rq:job:a")
    await broker.release(record(), [a.lease, b.lease], is_attempt=False)
    assert redis.exists("rq:job:a") == 0
    await broker.reap(await leader(broker), limit=10)
    assert_only_b_counts(redis)


async def test_a_refusal_whose_reply_was_lost_is_a_refusal(
    redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of prompts so large that they are sent ahead, and dropped with the first refusal."""
    del redis  # emptied first
    run_each, lost = ScriptRunner.run_each, list[object]()

    async def losing_the_first(
        scripts: ScriptRunner, name: str, calls: Sequence[Arguments]
    ) -> list[Any]:
        if not lost:
            lost.append(await run_each(scripts, name, calls))
        return await run_each(scripts, name, calls)

    monkeypatch.setattr(ScriptRunner, "run_each", losing_the_first)
    broker = redis_broker(redis_url, bounds=Bounds(1, 1 << 30, 5))
    large = replace(submission("a"), prompt=pack_tokens(range(400_000)))
    [refusal] = await broker.admit([[large, submission("b")]])
    assert isinstance(refusal, QueueFull)
    await broker.close()
    assert lost

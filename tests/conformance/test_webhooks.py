"""Webhooks of jobs that ended: owed once, leased, settled, given up, sent again. Both brokers."""

from functools import partial
from typing import Final

import pytest
from msgspec.structs import replace
from queue_support import BROKEN, Hands
from redis import Redis
from support import completed, record, redis_broker, submission, unique

from preble.broker import Broker, memory_webhooks
from preble.broker.keys import PoolKeys
from preble.broker.scripts import load_scripts
from preble.broker.webhooks import FORGOTTEN, MOST_DEAD, DueWebhook, Room, Verdict
from preble.messages import JobId, JobState, Outcome, Webhook, WebhookView

pytestmark = pytest.mark.anyio

HOOK: Final = Webhook("https://receiver.example/hook", "response")
JOB: Final = JobId("job1")
LEASE_S: Final = 60.0
DELIVERED: Final = Verdict("delivered")
REFUSED: Final = Verdict("refused", "not public")


async def admit(broker: Broker, *names: str, deadline_s: float | None = None) -> None:
    jobs = [replace(submission(name, deadline_s=deadline_s), webhook=HOOK) for name in names]
    [admitted] = await broker.admit([jobs])
    assert admitted is None


async def cancelled(broker: Broker, *names: str) -> None:
    """New jobs that were cancelled."""
    await admit(broker, *names)
    await broker.cancel([JobId(name) for name in names])


async def take(broker: Broker, *, lease_s: float = LEASE_S) -> list[DueWebhook]:
    return await broker.webhooks.take(Room(10, 10), lease_s=lease_s)


async def view(broker: Broker) -> WebhookView | None:
    found = await broker.view(JOB)
    assert found
    return found.webhook


async def test_nothing_is_owed_before_the_end(broker: Broker) -> None:
    await admit(broker, JOB)
    assert await take(broker) == []
    assert await view(broker) == WebhookView("waiting")


async def test_a_job_without_one_owes_nothing(broker: Broker) -> None:
    await Hands(broker).admit(JOB)
    await broker.cancel([JOB])
    assert await take(broker) == []
    assert await view(broker) is None


async def test_each_end_is_owed_with_its_state(broker: Broker) -> None:
    hands = Hands(broker)
    await admit(broker, "completes", "fails")
    first, second = await hands.run()
    outcomes = [completed(first.lease), Outcome(second.lease, failure=BROKEN)]
    await broker.finish(record(), outcomes)
    await broker.finish(record(), outcomes)
    await cancelled(broker, "cancelled")
    await admit(broker, "expires", deadline_s=0.001)
    while await hands.state("expires") is not JobState.EXPIRED:
        await hands.reap()
        await drop_time(broker)
    due = await take(broker)
    assert {each.job_id: each.state for each in due} == {
        "completes": JobState.COMPLETED, "fails": JobState.FAILED,
        "cancelled": JobState.CANCELLED, "expires": JobState.EXPIRED,
    }  # fmt: skip
    assert {each.webhook for each in due} == {HOOK}
    ended = await broker.view(JobId("fails"))
    assert ended
    assert ended.ended_at_s == pytest.approx(next(e for e in due if e.job_id == "fails").ended_at_s)


async def test_what_is_no_job_owes_once_until_it_is_delivered(broker: Broker) -> None:
    batch, hook = JobId("batch_1"), Webhook("https://receiver.example/hook", "batch")
    owe = partial(broker.webhooks.owe, tenant="t1")
    assert await owe(batch, hook, JobState.EXPIRED)
    assert not await owe(batch, hook, JobState.EXPIRED)
    [due] = await take(broker)
    assert (due.job_id, due.webhook, due.state) == (batch, hook, JobState.EXPIRED)
    assert due.tenant == "t1"
    assert not await owe(batch, hook, JobState.EXPIRED)
    await broker.webhooks.settle(due, REFUSED)
    assert not await owe(batch, hook, JobState.EXPIRED)
    assert [letter.job_id for letter in await broker.webhooks.dead(10)] == [batch]
    assert await broker.webhooks.retry([batch]) == [True]
    [due] = await take(broker)
    assert await broker.webhooks.settle(due, DELIVERED)
    assert await broker.webhooks.dead(10) == []
    assert await owe(batch, hook, JobState.EXPIRED)


async def drop_time(broker: Broker) -> None:
    """Let a moment pass, on whichever clock the broker has."""
    await broker.streams.listen(unique("nobody"), timeout_s=0.002)


async def test_what_is_taken_is_nobody_elses_until_its_lease_ends(broker: Broker) -> None:
    await cancelled(broker, JOB)
    [first] = await take(broker, lease_s=0.05)
    assert first.attempt == 1
    while not (again := await take(broker)):
        await drop_time(broker)
    [second] = again
    assert second.attempt == 2
    assert await take(broker) == []
    assert not await broker.webhooks.settle(first, DELIVERED)
    assert await view(broker) == WebhookView("pending", 2)


async def test_at_most_so_many_are_taken_the_longest_overdue_first(broker: Broker) -> None:
    for name in ("a", "b", "c"):
        await cancelled(broker, name)
        await drop_time(broker)
    taken = [await broker.webhooks.take(Room(2, 2), lease_s=LEASE_S) for _ in range(3)]
    assert [[each.job_id for each in some] for some in taken] == [["a", "b"], ["c"], []]


async def test_delivered_is_over_and_shown(broker: Broker) -> None:
    await cancelled(broker, JOB)
    [due] = await take(broker, lease_s=0.05)
    assert await broker.webhooks.settle(due, DELIVERED)
    assert not await broker.webhooks.settle(due, REFUSED)
    assert await view(broker) == WebhookView("delivered", 1)
    assert await broker.webhooks.dead(10) == []


async def test_pending_comes_again_after_its_pause(broker: Broker) -> None:
    await cancelled(broker, JOB)
    [due] = await take(broker)
    assert await broker.webhooks.settle(due, Verdict("pending", "answered 500", 0.05))
    assert await take(broker) == []
    assert await view(broker) == WebhookView("pending", 1, "answered 500")
    while not (again := await take(broker)):
        await drop_time(broker)
    assert again[0].attempt == 2


async def test_what_was_not_tried_is_no_attempt(broker: Broker) -> None:
    await cancelled(broker, JOB)
    [due] = await take(broker)
    await broker.webhooks.settle(due, Verdict("pending", is_attempt=False))
    [again] = await take(broker)
    assert again.attempt == 1


@pytest.mark.parametrize("verdict", [REFUSED, Verdict("failed", "answered 500")])
async def test_given_up_is_a_dead_letter_until_it_is_retried(
    broker: Broker, verdict: Verdict
) -> None:
    await cancelled(broker, JOB)
    [due] = await take(broker)
    assert await broker.webhooks.settle(due, verdict)
    assert await take(broker) == []
    [letter] = await broker.webhooks.dead(10)
    assert (letter.job_id, letter.webhook, letter.state) == (JOB, HOOK, JobState.CANCELLED)
    assert (letter.status, letter.attempts, letter.last_error) == (verdict.status, 1, verdict.error)
    assert letter.ended_at_s == pytest.approx(due.ended_at_s)
    assert await view(broker) == WebhookView(verdict.status, 1, verdict.error)

    assert await broker.webhooks.retry([JOB, JobId("other")]) == [True, False]
    assert await broker.webhooks.retry([JOB]) == [False]
    assert await broker.webhooks.dead(10) == []
    [again] = await take(broker)
    assert (again.attempt, again.ended_at_s) == (1, due.ended_at_s)


async def test_dead_letters_are_shown_the_newest_first(broker: Broker) -> None:
    for name in ("a", "b", "c"):
        await cancelled(broker, name)
        [due] = await take(broker)
        await broker.webhooks.settle(due, REFUSED)
        await drop_time(broker)
    assert [letter.job_id for letter in await broker.webhooks.dead(2)] == ["c", "b"]


async def test_dead_letters_are_bounded(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(memory_webhooks, "MOST_DEAD", 2)
    monkeypatch.setattr("preble.broker.redis.load_scripts", bounded_scripts)
    bounded = redis_broker(request.getfixturevalue("redis_url")) if is_redis(broker) else broker
    for name in ("a", "b", "c"):
        await cancelled(bounded, name)
        [due] = await take(bounded)
        await bounded.webhooks.settle(due, REFUSED)
        await drop_time(bounded)
    assert [letter.job_id for letter in await bounded.webhooks.dead(10)] == ["c", "b"]
    assert await bounded.webhooks.retry([JobId("a")]) == [False]
    forgotten = await bounded.view(JobId("a"))
    assert forgotten
    assert forgotten.webhook == WebhookView("failed", last_error=FORGOTTEN)
    await bounded.close()


def bounded_scripts(keys: PoolKeys) -> dict[str, str]:
    """The scripts, but that they keep two dead letters."""
    bound, small = f"MOST_DEAD_WEBHOOKS = {MOST_DEAD}", "MOST_DEAD_WEBHOOKS = 2"
    return {name: source.replace(bound, small) for name, source in load_scripts(keys).items()}


def is_redis(broker: Broker) -> bool:
    return "Redis" in type(broker).__name__


async def test_a_job_that_runs_again_owes_its_next_end_alone(broker: Broker) -> None:
    hands = Hands(broker)
    await admit(broker, JOB)
    await hands.fail_waiting()
    [due] = await take(broker)
    await broker.retry([JOB])
    assert await view(broker) == WebhookView("waiting")
    assert not await broker.webhooks.settle(due, REFUSED)
    assert await broker.webhooks.dead(10) == []
    await drop_time(broker)
    await hands.complete_waiting()
    [again] = await take(broker)
    assert (again.state, again.attempt) == (JobState.COMPLETED, 1)
    assert again.ended_at_s > due.ended_at_s


async def test_in_redis_a_dead_letter_outlives_its_job_and_a_delivered_one_does_not(
    redis_url: str, redis: Redis
) -> None:
    pool = unique("pool")
    broker, keys = redis_broker(redis_url, pool), PoolKeys(pool)
    await cancelled(broker, "kept", "dead", "late")
    assert redis.ttl(keys("webhook", job="kept")) == -1
    kept, dead, late = sorted(await take(broker), key=lambda due: "kdl".index(due.job_id[0]))
    await broker.webhooks.settle(kept, DELIVERED)
    assert 0 < redis.ttl(keys("webhook", job="kept")) <= redis.ttl(keys("job", job="kept"))
    redis.delete(keys("job", job="dead"), keys("job", job="late"))
    await broker.webhooks.settle(dead, REFUSED)
    await broker.webhooks.settle(late, DELIVERED)
    assert [letter.job_id for letter in await broker.webhooks.dead(10)] == ["dead"]
    assert redis.exists(keys("webhook", job="late")) == 0
    await broker.close()


async def test_in_redis_a_record_that_was_deleted_is_skipped(redis_url: str, redis: Redis) -> None:
    pool = unique("pool")
    broker, keys = redis_broker(redis_url, pool), PoolKeys(pool)
    await cancelled(broker, JOB)
    redis.delete(keys("webhook", job=JOB))
    assert await take(broker) == []
    assert redis.zcard(keys("webhooks")) == 0
    assert await view(broker) == WebhookView("failed", last_error=FORGOTTEN)
    await broker.close()

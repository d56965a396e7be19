"""What has ended is bounded in bytes: what ended first is dropped, as if it had expired."""

import math
from itertools import pairwise

import pytest
from msgspec.structs import replace
from queue_support import BROKEN, Hands, Make
from support import completed, record, submission

from preble.broker import Broker
from preble.broker.ended import DROPS_AT_AN_END, ENDED_JOB_BYTES
from preble.broker.lists import JobQuery
from preble.broker.webhooks import Room, Verdict
from preble.errors import PromptDropped
from preble.messages import JobId, JobState, Outcome, Submission, Webhook

pytestmark = pytest.mark.anyio

HOOK = Webhook("https://receiver.example/hook", "job")
NONE_FITS = 1
"""Less than any job: all are dropped but for the last."""


async def known(broker: Broker) -> list[str]:
    """The jobs that are listed, in the order of admission; each is known, too."""
    page = await broker.list_jobs(JobQuery(is_newest_first=False))
    listed = [job.job_id for job in page.jobs]
    assert all(await broker.views(listed))
    return [str(job_id) for job_id in listed]


async def ended_bytes(broker: Broker) -> int:
    return (await broker.counts.stats()).ended_bytes


async def one_of_each_end(hands: Hands) -> None:
    await hands.admit("completed")
    await hands.complete_waiting()
    await hands.fail("failed")
    await hands.admit("cancelled")
    await hands.broker.cancel([JobId("cancelled")])
    await hands.admit("expired", deadline_s=0.0)
    await hands.reap()


async def test_each_end_counts_what_is_kept(make: Make) -> None:
    hands = Hands(await make())
    seen = [0]
    for name in ("small", "large"):
        await hands.admit(name)
        (job,) = await hands.run()
        text = "x" * (30_000 if name == "large" else 1)
        await hands.broker.finish(record(), [completed(job.lease, text)])
        seen.append(await ended_bytes(hands.broker))
    small, large = seen[1] - seen[0], seen[2] - seen[1]
    assert small > ENDED_JOB_BYTES
    assert large > small + 30_000


async def test_a_great_spec_counts_though_nothing_ran(make: Make) -> None:
    broker = await make()
    plain, great = submission("plain"), submission("great")
    stop = tuple(f"{number:0256}" for number in range(16))
    great = replace(
        great, spec=replace(great.spec, sampling=replace(great.spec.sampling, stop=stop))
    )
    seen = [0]
    for job in (plain, great, replace(plain, job_id=JobId("hooked"), webhook=HOOK)):
        await broker.admit([[job]])
        await broker.cancel([job.job_id])
        seen.append(await ended_bytes(broker))
    sizes = [after - before for before, after in pairwise(seen)]
    assert sizes[1] > sizes[0] + 16 * 256
    assert sizes[2] > sizes[0] + 2 * len(HOOK.url)


async def test_what_ended_first_is_dropped_first_whatever_became_of_it(make: Make) -> None:
    hands = Hands(await make(max_ended_bytes=NONE_FITS))
    await one_of_each_end(hands)
    assert await known(hands.broker) == ["expired"]
    for name in ("completed", "failed", "cancelled"):
        assert await hands.broker.view(JobId(name)) is None
        assert await hands.broker.notes.read(JobId(name)) is None
    stats = await hands.broker.counts.stats()
    assert stats.totals["completed"] == stats.totals["failed"] == stats.totals["cancelled"] == 1
    assert stats.dead_letter_bytes == 0


async def test_the_order_is_that_of_ends_not_of_submissions(make: Make) -> None:
    hands = Hands(await make(max_ended_bytes=2 * (ENDED_JOB_BYTES + 500)))
    await hands.admit("a", "b", "c")
    for name in ("c", "a", "b"):
        await hands.broker.cancel([JobId(name)])
    await hands.reap()
    assert await known(hands.broker) == ["a", "b"]


async def test_in_one_call_the_order_is_that_of_the_call(make: Make) -> None:
    hands = Hands(await make(max_ended_bytes=2 * (ENDED_JOB_BYTES + 500)))
    names = [JobId(f"job{number}") for number in range(12)]
    await hands.admit(*names)
    assert await hands.broker.cancel(names[::-1]) == [JobState.CANCELLED] * 12
    await hands.reap()
    assert await known(hands.broker) == ["job0", "job1"]


async def test_cancelling_drops_nothing_until_reap_does(make: Make) -> None:
    """An api cancels; its account may not drop results."""
    hands = Hands(await make(max_ended_bytes=NONE_FITS))
    await hands.admit("a", "b")
    await hands.broker.cancel([JobId("a"), JobId("b")])
    assert await known(hands.broker) == ["a", "b"]
    await hands.reap()
    assert await known(hands.broker) == ["b"]


async def test_jobs_that_have_not_ended_are_never_dropped(make: Make) -> None:
    hands = Hands(await make(max_ended_bytes=NONE_FITS))
    await hands.admit("runs")
    await hands.run()
    await hands.admit("waits", "ends", "ends too")
    await hands.broker.cancel([JobId("ends"), JobId("ends too")])
    await hands.reap()
    assert await known(hands.broker) == ["runs", "waits", "ends too"]


async def test_one_end_drops_a_few_and_reap_the_rest(make: Make) -> None:
    hands = Hands(await make(max_ended_bytes=50_000))
    small = [f"small{number}" for number in range(20)]
    await hands.admit(*small)
    await hands.broker.cancel([JobId(name) for name in small])
    await hands.admit("large")
    (job,) = await hands.run()
    await hands.broker.finish(record(), [completed(job.lease, "x" * 30_000)])
    assert await known(hands.broker) == [*small[DROPS_AT_AN_END:], "large"]
    await hands.broker.reap(await hands.leader(), limit=2)
    assert await known(hands.broker) == [*small[DROPS_AT_AN_END + 2 :], "large"]
    await hands.reap()
    assert await ended_bytes(hands.broker) <= 50_000
    assert (await known(hands.broker))[-2:] == ["small19", "large"]


async def test_a_dropped_id_may_be_admitted_anew(make: Make) -> None:
    hands = Hands(await make(max_ended_bytes=NONE_FITS))
    await hands.fail("a")
    await hands.fail("b")
    await hands.admit("a")
    assert await known(hands.broker) == ["b", "a"]
    await hands.complete_waiting()
    assert await hands.state("a") is JobState.COMPLETED
    assert await hands.state("b") is None


async def test_a_retried_job_counts_again_at_its_next_end(make: Make) -> None:
    hands = Hands(await make())
    await hands.fail("a")
    once = await ended_bytes(hands.broker)
    assert await hands.broker.retry([JobId("a")]) == [JobState.WAITING]
    assert await ended_bytes(hands.broker) == 0
    await hands.fail_waiting()
    assert await ended_bytes(hands.broker) == once


async def test_a_dropped_failure_cannot_be_retried(make: Make) -> None:
    hands = Hands(await make(max_ended_bytes=NONE_FITS))
    await hands.fail("a", "b")
    assert await hands.broker.retry([JobId("a")]) == [None]
    assert await hands.broker.retry([JobId("b")]) == [JobState.WAITING]


async def test_a_failure_kept_without_its_prompt_counts_all_the_same(make: Make) -> None:
    hands = Hands(await make(max_dead_letter_bytes=0))
    await hands.fail("a")
    (reply,) = await hands.broker.retry([JobId("a")])
    assert isinstance(reply, PromptDropped)
    assert await ended_bytes(hands.broker) > ENDED_JOB_BYTES


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_note_counts_also_if_it_comes_after_the_end(make: Make, *, is_late: bool) -> None:
    broker = await make()
    await broker.admit([[submission("a"), submission("b")]])
    await broker.cancel([JobId("a")])
    plain = await ended_bytes(broker)
    if not is_late:
        await broker.notes.keep(JobId("b"), b"n" * 1_000)
    await broker.cancel([JobId("b")])
    if is_late:
        for _ in range(2):
            await broker.notes.keep(JobId("b"), b"n" * 1_000)
    assert await ended_bytes(broker) == 2 * plain + 1_000


async def test_how_long_jobs_are_kept_is_told_once_some_were_dropped(make: Make) -> None:
    hands = Hands(await make(max_ended_bytes=NONE_FITS))
    await hands.fail("a")
    assert await hands.broker.counts.kept_s() == math.inf
    await hands.fail("b")
    assert 0 <= await hands.broker.counts.kept_s() < 60


async def hooked(broker: Broker, *names: str) -> None:
    """New jobs with webhooks, which were cancelled; of all that ended the last is kept."""
    jobs: list[Submission] = [replace(submission(name), webhook=HOOK) for name in names]
    await broker.admit([jobs])
    await broker.cancel([JobId(name) for name in names])
    await Hands(broker).reap()


async def test_a_webhook_outlives_its_dropped_job_until_it_is_delivered(make: Make) -> None:
    broker = await make(max_ended_bytes=NONE_FITS)
    await hooked(broker, "a", "b")
    assert await broker.view(JobId("a")) is None
    due = await broker.webhooks.take(Room(10, 10), lease_s=60.0)
    assert {(each.job_id, each.state, each.webhook) for each in due} == {
        ("a", JobState.CANCELLED, HOOK), ("b", JobState.CANCELLED, HOOK),
    }  # fmt: skip
    assert all([await broker.webhooks.settle(each, Verdict("delivered")) for each in due])
    await hooked(broker, "a")
    (again,) = await broker.webhooks.take(Room(10, 10), lease_s=60.0)
    assert (again.job_id, again.attempt) == ("a", 1)


async def test_a_webhook_that_was_given_up_outlives_its_dropped_job(make: Make) -> None:
    broker = await make(max_ended_bytes=NONE_FITS)
    await hooked(broker, "a")
    (due,) = await broker.webhooks.take(Room(10, 10), lease_s=60.0)
    await broker.webhooks.settle(due, Verdict("refused", "not public"))
    await hooked(broker, "b")
    assert await broker.view(JobId("a")) is None
    assert [letter.job_id for letter in await broker.webhooks.dead(10)] == ["a"]
    assert await broker.webhooks.retry([JobId("a")]) == [True]


async def test_of_a_delivered_webhook_nothing_is_left_with_its_dropped_job(make: Make) -> None:
    broker = await make(max_ended_bytes=NONE_FITS)
    await hooked(broker, "a")
    (due,) = await broker.webhooks.take(Room(10, 10), lease_s=60.0)
    await broker.webhooks.settle(due, Verdict("delivered"))
    await hooked(broker, "b")
    assert await broker.view(JobId("a")) is None
    assert await broker.webhooks.dead(10) == []
    (other,) = await broker.webhooks.take(Room(10, 10), lease_s=60.0)
    assert other.job_id == "b"


async def test_a_failed_end_is_told_again_though_its_job_was_dropped(make: Make) -> None:
    """The reply to the worker was lost: what it says again changes nothing."""
    hands = Hands(await make(max_ended_bytes=NONE_FITS))
    await hands.admit("a", "b")
    a, b = await hands.run()
    outcomes = [Outcome(job.lease, failure=BROKEN) for job in (a, b)]
    assert await hands.broker.finish(record(), outcomes) == [True, True]
    before = await hands.broker.counts.stats()
    assert await hands.broker.finish(record(), outcomes) == [False, True]
    assert await hands.broker.counts.stats() == before

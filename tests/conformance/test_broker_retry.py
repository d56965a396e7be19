"""Dead letters: failed jobs that keep their prompts, and run again. On both brokers."""

import asyncio

import pytest
from msgspec.structs import replace
from queue_support import BROKEN, Hands, Make
from support import completed, record, submission

from preble.broker import Broker
from preble.broker.answers import Retried
from preble.broker.lists import JobQuery
from preble.broker.sent import sent_texts
from preble.errors import PromptDropped, QueueFull
from preble.messages import ClaimedJob, JobId, JobsAdmitted, JobState, JobView, Outcome, pack_tokens

pytestmark = pytest.mark.anyio

PROMPT_BYTES = 40
SENT_BYTES = sent_texts(submission("a")).num_bytes
"""Of a job of these tests."""


@pytest.fixture
def hands(broker: Broker) -> Hands:
    return Hands(broker)


async def retry(hands: Hands, *names: str) -> list[Retried]:
    return await hands.broker.retry([JobId(name) for name in names])


async def only(hands: Hands, name: str) -> Retried:
    (reply,) = await retry(hands, name)
    return reply


async def view(hands: Hands, name: str) -> JobView:
    shown = await hands.broker.view(JobId(name))
    assert shown
    return shown


async def finish(hands: Hands, job: ClaimedJob) -> bool:
    (accepted,) = await hands.broker.finish(record(), [completed(job.lease)])
    return accepted


async def listed(hands: Hands, state: JobState) -> list[str]:
    page = await hands.broker.list_jobs(JobQuery(state=state, is_newest_first=False))
    return [job.job_id for job in page.jobs]


async def test_a_failed_job_waits_again_as_if_new(hands: Hands) -> None:
    await hands.admit("a")
    new = await view(hands, "a")
    await hands.fail_waiting()
    assert await only(hands, "a") is JobState.WAITING
    assert await view(hands, "a") == new


async def test_it_runs_with_the_prompt_it_came_with_and_may_complete(hands: Hands) -> None:
    (failed,) = await hands.fail("a")
    await retry(hands, "a")
    (job,) = await hands.run()
    assert job.prompt == failed.prompt == pack_tokens(range(10))
    assert (job.spec, job.attempt) == (failed.spec, 1)
    assert await finish(hands, job)
    done = await view(hands, "a")
    assert done.state is JobState.COMPLETED
    assert done.result
    assert done.failure is None


async def test_it_waits_behind_those_that_came_meanwhile(hands: Hands) -> None:
    await hands.fail("a")
    await hands.admit("b")
    await retry(hands, "a")
    assert [job.job_id for job in await hands.broker.peek(10)] == ["b", "a"]


async def test_the_second_time_it_says_how_the_job_stands(hands: Hands) -> None:
    await hands.fail("a")
    assert await retry(hands, "a", "a") == [JobState.WAITING, JobState.WAITING]
    assert (await hands.broker.counts.stats()).waiting == 1
    assert (await hands.broker.counts.stats()).totals["retried"] == 1
    await hands.place()
    assert await only(hands, "a") is JobState.ASSIGNED
    await hands.claim()
    assert await only(hands, "a") is JobState.RUNNING


async def test_what_did_not_fail_stays_as_it_is(hands: Hands) -> None:
    await hands.admit("a")
    await hands.complete_waiting()
    await hands.admit("b")
    await hands.broker.cancel([JobId("b")])
    replies = await retry(hands, "a", "b", "nobody")
    assert replies == [JobState.COMPLETED, JobState.CANCELLED, None]
    assert (await hands.broker.counts.stats()).waiting == 0


async def test_it_may_fail_and_be_retried_again_and_again(hands: Hands) -> None:
    await hands.fail("a")
    for _ in range(3):
        assert await only(hands, "a") is JobState.WAITING
        await hands.fail_waiting()
        assert await hands.state("a") is JobState.FAILED
    totals = (await hands.broker.counts.stats()).totals
    assert (totals["failed"], totals["retried"]) == (4, 3)


async def test_one_whose_attempts_were_used_up_begins_to_count_anew(hands: Hands) -> None:
    await hands.admit("a")
    attempts = 0
    while await hands.state("a") is not JobState.FAILED:
        await hands.place()
        attempts += len(await hands.claim(lease_s=0))
        await hands.reap()
    await retry(hands, "a")
    assert [job.runs_alone for job in await hands.broker.peek(10)] == [False]
    for _ in range(attempts - 1):
        await hands.place()
        await hands.claim(lease_s=0)
        await hands.reap()
    assert await hands.state("a") is JobState.WAITING


async def test_no_execution_of_before_is_ever_heard(hands: Hands) -> None:
    """Not even that of which the end was recorded, and which may have missed the answer."""
    (old,) = await hands.fail("a")
    again = [Outcome(old.lease, failure=BROKEN)]
    assert await hands.broker.finish(record(), again) == [True]
    await retry(hands, "a")
    assert await hands.broker.finish(record(), again) == [False]
    (new,) = await hands.run()
    assert new.execution_id != old.execution_id
    assert not await finish(hands, old)
    assert await hands.broker.renew(record(), [old.lease], lease_s=60) == [old.lease]
    assert await hands.state("a") is JobState.RUNNING
    assert await finish(hands, new)
    assert not await finish(hands, old)


async def test_nor_is_it_heard_if_the_job_ends_before_it_runs_again(hands: Hands) -> None:
    (old,) = await hands.fail("a")
    await retry(hands, "a")
    await hands.broker.cancel([JobId("a")])
    assert not await finish(hands, old)


async def test_the_deadline_begins_anew(hands: Hands) -> None:
    await hands.admit("a", deadline_s=60.0)
    await hands.fail_waiting()
    before = await view(hands, "a")
    await asyncio.sleep(0.003)  # by the clock of the queue, which is no test's
    await retry(hands, "a")
    after = await view(hands, "a")
    assert before.deadline_at_s
    assert after.deadline_at_s
    assert after.deadline_at_s - before.deadline_at_s >= 0.002
    assert after.submitted_at_s == before.submitted_at_s


async def test_the_scheduler_hears_of_it(hands: Hands) -> None:
    await hands.fail("a")
    cursor = (await hands.broker.bulletin.load_pool()).cursor
    await retry(hands, "a")
    assert (await hands.broker.bulletin.follow(cursor, timeout_s=0)).signals == (JobsAdmitted(1),)


async def test_it_keeps_its_place_in_the_lists(hands: Hands) -> None:
    await hands.fail("a", "b")
    await hands.admit("c")
    assert await listed(hands, JobState.FAILED) == ["a", "b"]
    await retry(hands, "b")
    assert await listed(hands, JobState.FAILED) == ["a"]
    assert await listed(hands, JobState.WAITING) == ["b", "c"]


# Bounds.


async def test_dead_letters_are_counted_apart_from_prompts(hands: Hands) -> None:
    await hands.fail("a", "b")
    await hands.admit("c")
    stats = await hands.broker.counts.stats()
    assert (stats.prompt_bytes, stats.dead_letter_bytes) == (SENT_BYTES, 2 * PROMPT_BYTES)
    await retry(hands, "a")
    stats = await hands.broker.counts.stats()
    assert (stats.prompt_bytes, stats.dead_letter_bytes) == (2 * SENT_BYTES, PROMPT_BYTES)


async def test_of_too_many_the_oldest_are_dropped_and_say_so(make: Make) -> None:
    hands = Hands(await make(max_dead_letter_bytes=2 * PROMPT_BYTES))
    await hands.fail("a", "b", "c")
    assert (await hands.broker.counts.stats()).dead_letter_bytes == 2 * PROMPT_BYTES
    dropped, *kept = await retry(hands, "a", "b", "c")
    assert isinstance(dropped, PromptDropped)
    assert kept == [JobState.WAITING] * 2
    assert await hands.state("a") is JobState.FAILED
    assert [len(job.prompt) for job in await hands.run()] == [PROMPT_BYTES] * 2


async def test_none_are_kept_if_none_are_wanted(make: Make) -> None:
    hands = Hands(await make(max_dead_letter_bytes=0))
    await hands.fail("a")
    assert isinstance(await only(hands, "a"), PromptDropped)
    assert (await hands.broker.counts.stats()).dead_letter_bytes == 0


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        ({"max_jobs": 1}, "1 jobs"),
        ({"max_prompt_bytes": SENT_BYTES}, "prompt bytes"),
        ({"max_ingresses": 1}, "ingress queues"),
        ({"max_tenant_jobs": 1}, "jobs of one tenant"),
    ],
)
async def test_a_full_pool_takes_no_failed_job_back(
    make: Make, bounds: dict[str, int], why: str
) -> None:
    hands = Hands(await make(**bounds))
    await hands.fail("a")
    # A queue of its own, so that its priority makes it one more.
    in_the_way = submission("b")
    in_the_way = replace(in_the_way, spec=replace(in_the_way.spec, priority="high"))
    [admitted] = await hands.broker.admit([[in_the_way]])
    assert not isinstance(admitted, Exception), admitted
    refusal = await only(hands, "a")
    assert isinstance(refusal, QueueFull)
    assert why in str(refusal)
    assert refusal.retry_after_s >= 1
    assert await hands.state("a") is JobState.FAILED
    await hands.broker.cancel([JobId("b")])
    assert await only(hands, "a") is JobState.WAITING

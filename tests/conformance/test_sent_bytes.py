"""All that a client sent counts as long as its job has not ended: not only the prompt."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from queue_support import Hands, Make
from support import completed, record, submission

from preble.broker import Broker
from preble.errors import QueueFull
from preble.messages import JobFailure, JobId, JobState, Outcome, Submission, Webhook

pytestmark = pytest.mark.anyio

ROOM_BYTES = 20_000
STOP = tuple("x" * 256 for _ in range(16))
URL = "https://example.com/" + "x" * 4_000


def with_stops(name: str) -> Submission:
    """About 4,200 bytes, 40 of them its prompt."""
    job = submission(name)
    return replace(job, spec=replace(job.spec, sampling=replace(job.spec.sampling, stop=STOP)))


def with_webhook(name: str) -> Submission:
    """The same."""
    return replace(submission(name), webhook=Webhook(URL))


async def counted(broker: Broker) -> int:
    return (await broker.counts.stats()).prompt_bytes


@pytest.mark.parametrize("make_job", [with_stops, with_webhook])
async def test_what_is_sent_with_prompts_is_bounded_with_them(
    make: Make, make_job: Callable[[str], Submission]
) -> None:
    broker = await make(max_prompt_bytes=ROOM_BYTES)
    assert await broker.admit([[make_job(name)] for name in "abcd"]) == [None] * 4
    (refusal,) = await broker.admit([[make_job("e")]])
    assert isinstance(refusal, QueueFull)
    assert "prompt bytes" in str(refusal)
    assert await broker.admit([[submission("small")]]) == [None]
    await broker.cancel([JobId("a")])
    assert await broker.admit([[make_job("e")]]) == [None]


async def test_a_note_counts_as_well(make: Make) -> None:
    broker = await make(max_prompt_bytes=ROOM_BYTES)
    await broker.admit([[submission("a")]])
    before = await counted(broker)
    for _ in range(2):
        await broker.notes.keep(JobId("a"), b"x" * ROOM_BYTES)
        assert await counted(broker) == before + ROOM_BYTES
    (refusal,) = await broker.admit([[submission("b")]])
    assert isinstance(refusal, QueueFull)
    await broker.cancel([JobId("a")])
    assert await counted(broker) == 0
    assert await broker.admit([[submission("b")]]) == [None]


async def test_a_note_of_a_job_that_has_ended_counts_no_more(broker: Broker) -> None:
    await broker.admit([[submission("a")]])
    await broker.cancel([JobId("a")])
    assert await broker.notes.keep(JobId("a"), b"note") == b"note"
    assert await counted(broker) == 0


@pytest.mark.parametrize("make_job", [with_stops, with_webhook])
@pytest.mark.parametrize("fails", [False, True])
async def test_it_is_given_back_when_the_job_ends_however(
    broker: Broker, make_job: Callable[[str], Submission], *, fails: bool
) -> None:
    """Of a failed job the prompt alone is kept as a dead letter; retried, all counts again."""
    hands = Hands(broker)
    assert await broker.admit([[make_job("a")]]) == [None]
    await broker.notes.keep(JobId("a"), b"a note")
    sent = await counted(broker)
    assert sent > 4_000
    (job,) = await hands.run()
    assert await counted(broker) == sent
    failed = Outcome(job.lease, failure=JobFailure("engine_refused", "too hot"))
    await broker.finish(record(), [failed if fails else completed(job.lease)])
    assert await counted(broker) == 0
    assert (await broker.counts.stats()).dead_letter_bytes == (len(job.prompt) if fails else 0)
    if fails:
        assert await broker.retry([JobId("a")]) == [JobState.WAITING]
        assert await counted(broker) == sent

"""Batches that wait while an ADMIT is under way share the next one."""

import asyncio
from collections.abc import Sequence

import pytest
from support import submission

from preble.broker.answers import Admitted
from preble.broker.bounds import Allowance
from preble.broker.memory import MemoryBroker
from preble.errors import BrokerUnavailable, QueueFull
from preble.messages import Submission
from preble_api import admission as module
from preble_api.admission import Admission

pytestmark = pytest.mark.anyio


class GatedBroker(MemoryBroker):
    """Answers an ADMIT when the test lets it."""

    def __init__(self, *, max_jobs: int = 100_000) -> None:
        super().__init__(max_jobs=max_jobs)
        self.calls: list[list[list[str]]] = []
        self.gate = asyncio.Event()
        self.called = asyncio.Event()

    async def admit(self, batches: Sequence[Sequence[Submission]]) -> list[Admitted]:
        self.calls.append([[job.job_id for job in batch] for batch in batches])
        self.called.set()
        await self.gate.wait()
        return await super().admit(batches)


async def three_requests(
    broker: GatedBroker, *batches: Sequence[Submission]
) -> list[asyncio.Task[Allowance | None]]:
    """The first request's call is under way, the others wait."""
    admission = Admission(broker)
    tasks = [asyncio.create_task(admission.admit(batches[0]))]
    await broker.called.wait()
    tasks += [asyncio.create_task(admission.admit(batch)) for batch in batches[1:]]
    # Let the others reach the queue.
    await asyncio.sleep(0)
    broker.gate.set()
    return tasks


async def test_what_arrives_during_a_call_goes_together_in_the_next() -> None:
    broker = GatedBroker()
    a, b, c, d = (submission(name) for name in "abcd")
    await asyncio.gather(*await three_requests(broker, [a], [b, c], [d]))
    assert broker.calls == [[["a"]], [["b", "c"], ["d"]]]


async def test_each_batch_keeps_its_own_outcome() -> None:
    broker = GatedBroker(max_jobs=2)
    a, b, c, d = (submission(name) for name in "abcd")
    tasks = await three_requests(broker, [a], [b, c], [d])
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), QueueFull, type(None)]


async def test_large_batches_go_in_calls_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALL_BYTES", 100)
    broker = GatedBroker()
    batches = [[submission(name, prompt_tokens=20)] for name in "abcd"]
    await asyncio.gather(*await three_requests(broker, *batches))
    assert broker.calls == [[["a"]], [["b"], ["c"]], [["d"]]]


async def test_a_batch_that_fills_a_call_alone_holds_up_no_small_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CALL_BYTES", 100)
    broker = GatedBroker()
    large, small = submission("large", prompt_tokens=100), submission("small")
    admission = Admission(broker)
    tasks = [asyncio.create_task(admission.admit([job])) for job in (large, small)]
    while len(broker.calls) < 2:  # noqa: ASYNC110  both before the gate opens
        await asyncio.sleep(0)
    broker.gate.set()
    await asyncio.gather(*tasks)
    assert broker.calls == [[["large"]], [["small"]]]


async def test_waiting_jobs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_JOBS", 2)
    broker = GatedBroker()
    a, b, c, d = (submission(name) for name in "abcd")
    tasks = await three_requests(broker, [a], [b, c], [d])
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), type(None), QueueFull]


class FailingBroker(MemoryBroker):
    """Fails once, then works."""

    failures = 1

    async def admit(self, batches: Sequence[Sequence[Submission]]) -> list[Admitted]:
        if self.failures:
            self.failures -= 1
            raise BrokerUnavailable("redis is gone")
        return await super().admit(batches)


async def test_failed_call_fails_its_requests_and_no_later_one() -> None:
    broker = FailingBroker()
    admission = Admission(broker)
    with pytest.raises(BrokerUnavailable):
        await admission.admit([submission("a")])
    await admission.admit([submission("b")])
    assert await broker.view(submission("a").job_id) is None
    assert await broker.view(submission("b").job_id) is not None


async def test_cancelled_request_disturbs_nobody() -> None:
    broker = GatedBroker()
    a, b, c = (submission(name) for name in "abc")
    tasks = await three_requests(broker, [a], [b], [c])
    tasks[1].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        type(None), asyncio.CancelledError, type(None),
    ]  # fmt: skip

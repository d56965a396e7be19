"""A worker and jobs of the quarantine: each runs beside nothing, or not at all."""

from asyncio import Semaphore
from collections.abc import Sequence

import pytest
from support import assignment, record, submission
from worker_support import (
    COMPLETION,
    ScriptedEngine,
    ended,
    is_running,
    place,
    place_waiting,
    until,
    working,
)

from preble.broker.memory import MemoryBroker
from preble.config import Settings
from preble.messages import ClaimedJob, InstanceRecord, JobId, JobState, Outcome
from preble_workers.engine import Completion, EngineRequest

pytestmark = pytest.mark.anyio

DEAD = record("dead")


class Beside:
    """An engine's answer: it notes who runs beside whom, and lets each end when told."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.seen: list[list[str]] = []
        self.free = Semaphore(0)

    async def __call__(self, request: EngineRequest) -> Completion:
        self.running.append(request.job_id)
        self.seen.append(list(self.running))
        try:
            await self.free.acquire()
        finally:
            self.running.remove(request.job_id)
        return COMPLETION

    def end(self, jobs: int = 1) -> None:
        for _ in range(jobs):
            self.free.release()


class Watched(MemoryBroker):
    """Says how often a worker asked for jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.claims = 0

    async def claim(
        self, record: InstanceRecord, *, number: int, jobs: int, tokens: int, num_held: int,
        lease_s: float,
    ) -> list[ClaimedJob]:  # fmt: skip
        self.claims += 1
        return await super().claim(
            record, number=number, jobs=jobs, tokens=tokens, num_held=num_held, lease_s=lease_s
        )

    async def is_asked_again(self) -> None:
        before = self.claims

        async def is_asked() -> bool:
            return self.claims > before

        await until(is_asked)


class SlowToHear(Watched):
    """Hears of the first end only when the worker has asked for more."""

    async def finish(self, record: InstanceRecord, outcomes: Sequence[Outcome]) -> list[bool]:
        if outcomes[0].lease.job_id == "first":
            await self.is_asked_again()
        return await super().finish(record, outcomes)


async def accuse(broker: MemoryBroker, *names: str) -> None:
    """Jobs that wait in the quarantine: two workers died with them."""
    await broker.admit([[submission(name) for name in names]])
    await broker.register(DEAD, lease_s=60)
    token = await broker.lead("test", ttl_s=600)
    assert token
    for number in (1, 2):
        waiting = await broker.peek(100)
        await broker.route(token, [(job.ingress, assignment(job, "dead")) for job in waiting])
        await broker.claim(DEAD, number=number, jobs=8, tokens=10_000, num_held=0, lease_s=0)
        await broker.reap(token, limit=100)
    await broker.retire(DEAD)
    await broker.reap(token, limit=100)


async def place_in_order(broker: MemoryBroker, *names: str) -> None:
    """Jobs that wait, on the worker's queue one after the other."""
    token = await broker.lead("test", ttl_s=600)
    assert token
    known = {job.job_id: job for job in await broker.peek(100)}
    jobs = [known[JobId(name)] for name in names]
    await broker.route(token, [(job.ingress, assignment(job)) for job in jobs])


async def is_assigned(broker: MemoryBroker, name: str) -> bool:
    view = await broker.view(JobId(name))
    return view is not None and view.state is JobState.ASSIGNED


async def test_it_starts_when_all_before_it_ended_and_nothing_starts_beside_it() -> None:
    broker = MemoryBroker()
    await accuse(broker, "accused")
    answer = Beside()
    async with working(ScriptedEngine(answer, slots=4), broker, Settings(wait_jobs=4)):
        await broker.admit([[submission("first"), submission("second")]])
        await place_in_order(broker, "first", "second", "accused")
        await until(lambda: is_running(broker, "second"))
        await place(broker, "after")
        answer.end()
        await ended(broker, "first")
        assert await is_assigned(broker, "accused")
        answer.end()
        await until(lambda: is_running(broker, "accused"))
        assert await is_assigned(broker, "after")
        answer.end()
        await until(lambda: is_running(broker, "after"))
        answer.end()
        await ended(broker, "first", "second", "accused", "after")
    assert [seen for seen in answer.seen if "accused" in seen] == [["accused"]]


async def test_several_run_one_after_the_other() -> None:
    broker = MemoryBroker()
    await accuse(broker, "a", "b", "c")
    answer = Beside()
    answer.end(3)
    async with working(ScriptedEngine(answer, slots=4), broker):
        await place_waiting(broker)
        await ended(broker, "a", "b", "c")
    assert answer.seen == [["a"], ["b"], ["c"]]


async def test_it_is_claimed_when_the_end_of_the_one_before_it_is_acknowledged() -> None:
    """Nothing else may happen then that would make the worker look again."""
    broker = SlowToHear()
    await accuse(broker, "accused")
    answer = Beside()
    answer.end()
    async with working(ScriptedEngine(answer, slots=4), broker):
        await broker.admit([[submission("first")]])
        await place_in_order(broker, "first", "accused")
        await until(lambda: is_running(broker, "accused"))
        answer.end()
        await ended(broker, "first", "accused")


async def test_it_waits_for_a_job_that_was_cancelled_and_still_stops() -> None:
    """Its lease is gone at once; its run may still do harm."""
    broker = Watched()
    await accuse(broker, "accused")
    stopping = Semaphore(0)

    class Stubborn(Beside):
        async def __call__(self, request: EngineRequest) -> Completion:
            try:
                return await super().__call__(request)
            finally:
                if request.job_id == "first":
                    self.running.append("first")
                    await stopping.acquire()
                    self.running.remove("first")

    answer = Stubborn()
    async with working(ScriptedEngine(answer, slots=4), broker):
        await broker.admit([[submission("first")]])
        await place_in_order(broker, "first", "accused")
        await until(lambda: is_running(broker, "first"))
        await broker.cancel([JobId("first")])
        await until(lambda: is_stopping(answer))
        await place(broker, "after")
        await broker.is_asked_again()
        assert await is_assigned(broker, "accused")
        stopping.release()
        await until(lambda: is_running(broker, "accused"))
        answer.end(2)
        await ended(broker, "accused", "after")
    assert [seen for seen in answer.seen if "accused" in seen] == [["accused"]]


async def is_stopping(answer: Beside) -> bool:
    return answer.running == ["first"] and len(answer.seen) == 1 and answer.free.locked()

"""Jobs that a worker has claimed, and that wait for its engine."""

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from support import submission
from worker_support import (
    COMPLETION,
    ScriptedEngine,
    at_once,
    ended,
    for_ever,
    has_left,
    is_running,
    job,
    next_life,
    place,
    place_waiting,
    the_record,
    until,
    working,
)

from preble.broker.memory import MemoryBroker
from preble.config import Settings, WaitOrder
from preble.errors import BrokerUnavailable
from preble.messages import (
    NO_REPORT,
    ClaimedJob,
    InstanceRecord,
    InstanceReport,
    JobId,
    JobState,
    Lease,
    pack_tokens,
)
from preble_workers.engine import Completion, EngineRequest, PagesRemoved, PagesStored

pytestmark = pytest.mark.anyio

PAGE = 16


class Gate:
    """An engine's answer: it notes who starts, and lets each end when told."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.free = asyncio.Semaphore(0)

    async def __call__(self, request: EngineRequest) -> Completion:
        self.started.append(request.job_id)
        await self.free.acquire()
        return COMPLETION

    def open(self) -> None:
        for _ in range(100):
            self.free.release()


class RecordingBroker(MemoryBroker):
    """Remembers who was claimed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.claims: list[ClaimedJob] = []

    async def claim(
        self, record: InstanceRecord, *, number: int, jobs: int, tokens: int, num_held: int,
        lease_s: float,
    ) -> list[ClaimedJob]:  # fmt: skip
        claimed = await super().claim(
            record, number=number, jobs=jobs, tokens=tokens, num_held=num_held, lease_s=lease_s
        )
        self.claims += claimed
        return claimed

    async def are_claimed(self, count: int) -> bool:
        return len(self.claims) == count


async def place_prompts(broker: MemoryBroker, **prompts: Sequence[int]) -> None:
    """Jobs with these tokens."""
    jobs = [
        replace(submission(name, prompt_tokens=len(ids)), prompt=pack_tokens(ids))
        for name, ids in prompts.items()
    ]
    assert await broker.admit([jobs]) == [None]
    await place_waiting(broker)


COLD, WARM, HOT = range(40), range(100, 140), range(200, 240)


@pytest.mark.parametrize(
    ("order", "started"),
    [
        ("fcfs", ["first", "cold", "warm", "hot"]),
        ("lpm", ["first", "hot", "warm", "cold"]),
        ("priority_groups", ["first", "hot", "warm", "cold"]),
    ],
)
async def test_jobs_start_in_the_order_of_their_hits(order: WaitOrder, started: list[str]) -> None:
    """By what the engine holds when there is a slot, not when they were claimed."""
    broker = RecordingBroker()
    gate = Gate()
    engine = ScriptedEngine(gate, slots=1)
    async with working(engine, broker, Settings(wait_order=order)):
        engine.events.put_nowait([PagesStored([1, 2], None, COLD[: 2 * PAGE])])
        await place(broker, "first")
        await until(lambda: broker.are_claimed(1))
        await place_prompts(broker, cold=COLD, warm=WARM, hot=HOT)
        await until(lambda: broker.are_claimed(4))
        engine.events.put_nowait([PagesRemoved([2, 1]), PagesStored([3], None, WARM[:PAGE])])
        engine.events.put_nowait([PagesStored([4, 5], None, HOT[: 2 * PAGE])])
        await until(engine.has_read)
        gate.open()
        await ended(broker, "first", "cold", "warm", "hot")
    assert gate.started == started
    results = [(await job(broker, name)).result for name in ("cold", "warm", "hot")]
    predicted = [result.prediction.resident_tokens for result in results if result]
    assert predicted == [0, PAGE, 2 * PAGE], "what was held at the start, not at the claim"


@pytest.mark.parametrize("wait_jobs", [0, 2])
async def test_no_more_is_claimed_than_slots_and_waiting_room(wait_jobs: int) -> None:
    broker = MemoryBroker()
    gate = Gate()
    names = ["a", "b", "c", "d", "e"]
    async with working(ScriptedEngine(gate, slots=1), broker, Settings(wait_jobs=wait_jobs)):
        await place(broker, *names)
        await until(lambda: is_running(broker, names[wait_jobs]))
        assert (await broker.counts.stats()).assigned == 4 - wait_jobs
        gate.open()
        await ended(broker, *names)
    assert gate.started == names


async def test_what_waits_is_bounded_by_kv_memory_too() -> None:
    """Of 8,192 tokens one job takes 2,705; half as many may wait, as for the slots."""
    broker = MemoryBroker()
    gate = Gate()
    names = ["a", "b", "c", "d", "e"]
    async with working(ScriptedEngine(gate, slots=8), broker, Settings(wait_jobs=4)):
        await place(broker, *names, prompt_tokens=2_700)
        await until(lambda: is_running(broker, "d"))
        assert (await broker.counts.stats()).assigned == 1
        gate.open()
        await ended(broker, *names)


async def test_a_large_job_is_not_overtaken() -> None:
    """It waits for KV memory; what came later would fit, and has a hit."""
    broker = RecordingBroker()
    gate = Gate()
    engine = ScriptedEngine(gate, slots=4)
    async with working(engine, broker):
        await place(broker, "first", prompt_tokens=5_000)
        await place(broker, "large", prompt_tokens=5_000)
        await until(lambda: broker.are_claimed(2))
        engine.events.put_nowait([PagesStored([3], None, WARM[:PAGE])])
        await until(engine.has_read)
        await place_prompts(broker, small=WARM)
        await until(lambda: broker.are_claimed(3))
        assert gate.started == ["first"]
        gate.open()
        await ended(broker, "first", "large", "small")
    assert gate.started == ["first", "large", "small"]


async def test_a_drain_hands_back_at_once_what_has_not_started() -> None:
    """While others still run: no attempt was made."""
    broker = RecordingBroker()
    gate = Gate()
    async with working(ScriptedEngine(gate, slots=1), broker) as draining:
        await place(broker, "a", "b", "c")
        await until(lambda: broker.are_claimed(3))
        draining.set()

        async def others_are_back() -> bool:
            token = await broker.lead("test", ttl_s=600)
            assert token
            await broker.reap(token, limit=10)
            return [waiting.job_id for waiting in await broker.peek(10)] == ["b", "c"]

        await until(others_are_back)
        assert (await job(broker, "b")).attempt == 0
        assert await is_running(broker, "a")
        gate.open()
    assert (await job(broker, "a")).state is JobState.COMPLETED
    assert gate.started == ["a"]


async def test_a_drain_while_the_broker_is_away_hands_back_at_the_end() -> None:
    class Away(RecordingBroker):
        failures = 1

        async def release(
            self, record: InstanceRecord, leases: Sequence[Lease], *, is_attempt: bool
        ) -> None:
            if self.failures:
                self.failures -= 1
                raise BrokerUnavailable("Redis is away")
            await super().release(record, leases, is_attempt=is_attempt)

    broker = Away()
    gate = Gate()
    async with working(ScriptedEngine(gate, slots=1), broker) as draining:
        await place(broker, "a", "b")
        await until(lambda: broker.are_claimed(2))
        draining.set()
        gate.open()
    await place_waiting(broker)
    view = await job(broker, "b")
    assert (broker.failures, view.state, view.attempt) == (0, JobState.WAITING, 0)


async def test_a_hung_engine_costs_what_waits_no_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preble_workers.worker.ENGINE_PAUSE_S", 0.001)
    broker = RecordingBroker()
    engine = ScriptedEngine(for_ever, slots=1)
    async with working(engine, broker, Settings(lease_s=1.0, engine_stall_s=0.05)):
        first = await the_record(broker)
        await place(broker, "a", "b")
        await until(lambda: broker.are_claimed(2))
        await until(lambda: has_left(broker))
        engine.answer = at_once
        await next_life(broker, first)
        await place_waiting(broker)
        await ended(broker, "a", "b")
    assert [(await job(broker, name)).attempt for name in ("a", "b")] == [2, 1]


async def test_a_waiting_job_whose_lease_is_lost_never_starts() -> None:
    """It makes room, too: here for the same job under a new lease."""
    broker = RecordingBroker()
    gate = Gate()
    settings = Settings(lease_s=0.05, wait_jobs=1)
    async with working(ScriptedEngine(gate, slots=1), broker, settings):
        await place(broker, "a", "b")
        await until(lambda: broker.are_claimed(2))
        lost = broker.claims[1].lease
        await broker.release(await the_record(broker), [lost], is_attempt=False)
        await place_waiting(broker)
        await until(lambda: broker.are_claimed(3))
        assert broker.claims[2].job_id == JobId("b")
        gate.open()
        await ended(broker, "a", "b")
    assert gate.started == ["a", "b"]


async def test_leases_of_waiting_jobs_are_renewed() -> None:
    """As long as another one runs, which is many leases here."""

    class CountingBroker(RecordingBroker):
        renewals: tuple[list[Lease], ...] = ()

        async def renew(
            self, record: InstanceRecord, leases: Sequence[Lease], *, lease_s: float,
            report: InstanceReport = NO_REPORT,
        ) -> list[Lease]:  # fmt: skip
            self.renewals = (*self.renewals, list(leases))
            return await super().renew(record, leases, lease_s=lease_s, report=report)

        async def has_renewed(self) -> bool:
            both = [claimed.lease for claimed in self.claims]
            return self.renewals[-3:] == (both, both, both)

    broker = CountingBroker()
    gate = Gate()
    async with working(ScriptedEngine(gate, slots=1), broker, Settings(lease_s=0.02)):
        await place(broker, "a", "b")
        await until(lambda: broker.are_claimed(2))
        await until(broker.has_renewed)
        gate.open()
        await ended(broker, "a", "b")


async def test_what_a_fenced_life_had_waiting_runs_in_the_next() -> None:
    broker = RecordingBroker()
    gate = Gate()
    engine = ScriptedEngine(for_ever, slots=1)
    async with working(engine, broker, Settings(lease_s=0.05)):
        first = await the_record(broker)
        await place(broker, "a", "b")
        await until(lambda: broker.are_claimed(2))
        engine.answer = gate
        gate.open()
        await broker.retire(first)  # as if its lease had run out
        await place_waiting(broker)
        await next_life(broker, first)
        await place_waiting(broker)
        await ended(broker, "a", "b")
    assert sorted(gate.started) == ["a", "b"]


async def test_nobody_waits_for_a_job_that_was_stopped_before_it_began() -> None:
    """Its lease turns out to be lost in the moment it starts; the next shares its prefix."""

    class LateBroker(RecordingBroker):
        def __init__(self) -> None:
            super().__init__()
            self.is_asked = asyncio.Event()
            self.has_claimed = asyncio.Event()

        async def claim(
            self, record: InstanceRecord, *, number: int, jobs: int, tokens: int, num_held: int,
            lease_s: float,
        ) -> list[ClaimedJob]:  # fmt: skip
            claimed = await super().claim(
                record, number=number, jobs=jobs, tokens=tokens, num_held=num_held,
                lease_s=lease_s,
            )  # fmt: skip
            if claimed:
                self.has_claimed.set()
            return claimed

        async def renew(
            self, record: InstanceRecord, leases: Sequence[Lease], *, lease_s: float,
            report: InstanceReport = NO_REPORT,
        ) -> list[Lease]:  # fmt: skip
            if self.is_asked.is_set():
                return await super().renew(record, leases, lease_s=lease_s, report=report)
            self.is_asked.set()
            await self.has_claimed.wait()
            return [self.claims[0].lease]

    broker = LateBroker()
    gate = Gate()
    gate.open()
    async with working(ScriptedEngine(gate, slots=1), broker, Settings(lease_s=0.05)):
        await broker.is_asked.wait()
        await place(broker, "a", "b", prompt_tokens=40)
        await ended(broker, "b")
    assert gate.started == ["b"]

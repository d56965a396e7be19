"""The worker on a memory broker, with an engine that does as each test says."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from support import submission
from worker_support import (
    COMPLETION,
    TOKENIZER,
    ScriptedEngine,
    at_once,
    ended,
    for_ever,
    has_instance,
    has_left,
    is_running,
    job,
    next_life,
    place,
    place_waiting,
    silent_recorder,
    the_record,
    until,
    working,
)

from preble.broker.memory import MemoryBroker
from preble.clock import SystemClock
from preble.config import Settings
from preble.errors import (
    BrokerUnavailable,
    ConfigError,
    EngineRefused,
    EngineUnavailable,
    EventsLost,
    PoolMismatch,
)
from preble.messages import InstanceRecord, JobId, JobState, PoolRecord
from preble_workers.engine import Completion, EngineInfo, EngineRequest, PageEvent, PagesStored
from preble_workers.worker import LONGEST_ENGINE_PAUSE_S, Worker, engine_pause_s

pytestmark = pytest.mark.anyio


async def test_jobs_are_run_and_their_output_decoded() -> None:
    broker = MemoryBroker()
    async with working(ScriptedEngine(at_once), broker):
        await place(broker, "a", "b", "c")
        await ended(broker, "a", "b", "c")
    view = await job(broker, "a")
    assert view.result
    assert view.result.text == TOKENIZER.decode([5, 6])
    assert (view.result.cached_tokens, view.result.completion_tokens) == (3, 2)


async def test_no_more_runs_than_slots_and_kv_memory_allow() -> None:
    async def when_others_had_their_chance(_: EngineRequest) -> Completion:
        for _turn in range(20):
            await asyncio.sleep(0)
        return COMPLETION

    names = [f"job{number}" for number in range(12)]
    for slots, kv_tokens, prompt_tokens, most in ((4, 8192, 10, 4), (8, 8192, 2_700, 3)):
        broker = MemoryBroker()
        engine = ScriptedEngine(when_others_had_their_chance, slots=slots, kv_tokens=kv_tokens)
        async with working(engine, broker):
            await place(broker, *names, prompt_tokens=prompt_tokens)
            await ended(broker, *names)
        assert engine.most_running == most


async def test_what_the_engine_refuses_fails_with_its_reason() -> None:
    async def refuse(_: EngineRequest) -> Completion:
        raise EngineRefused("too strange")

    broker = MemoryBroker()
    async with working(ScriptedEngine(refuse), broker):
        await place(broker, "a")
        await ended(broker, "a")
    failure = (await job(broker, "a")).failure
    assert failure
    assert (failure.code, failure.message) == ("engine_refused", "too strange")


async def test_a_bug_ends_one_job_and_tells_no_secrets() -> None:
    async def stumble(request: EngineRequest) -> Completion:
        if request.job_id == "a":
            raise RuntimeError("secret prompt")
        return COMPLETION

    broker = MemoryBroker()
    async with working(ScriptedEngine(stumble), broker):
        await place(broker, "a", "b")
        await ended(broker, "a", "b")
    failure = (await job(broker, "a")).failure
    assert failure
    assert failure.code == "internal_error"
    assert "secret" not in failure.message
    assert (await job(broker, "b")).state is JobState.COMPLETED


async def test_a_job_that_the_engine_lost_runs_again_once_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("preble_workers.worker.ENGINE_PAUSE_S", 0.001)
    broker = MemoryBroker()
    engine = ScriptedEngine(at_once)

    async def die(_: EngineRequest) -> Completion:
        engine.is_up = False
        engine.answer = at_once
        raise EngineUnavailable("died")

    engine.answer = die

    async def released() -> bool:
        token = await broker.lead("test", ttl_s=600)
        assert token
        return bool((await broker.reap(token, limit=10)).requeued)

    async with working(engine, broker):
        await place(broker, "a")
        await until(released)
        await until(lambda: has_left(broker))
        await place_waiting(broker)
        assert (await job(broker, "a")).state is JobState.WAITING  # others may have it
        engine.is_up = True
        await until(lambda: has_instance(broker))
        await place_waiting(broker)
        await ended(broker, "a")
    view = await job(broker, "a")
    assert (view.state, view.attempt) == (JobState.COMPLETED, 2)


async def test_a_run_that_never_ends_fails() -> None:
    broker = MemoryBroker()
    async with working(ScriptedEngine(for_ever), broker, Settings(max_run_s=0.01)):
        await place(broker, "a")
        await ended(broker, "a")
    failure = (await job(broker, "a")).failure
    assert failure
    assert failure.code == "run_time_exceeded"


async def test_draining_finishes_what_runs_and_claims_no_more() -> None:
    go_on = asyncio.Event()

    async def when_told(_: EngineRequest) -> Completion:
        await go_on.wait()
        return COMPLETION

    broker = MemoryBroker()
    engine = ScriptedEngine(when_told, slots=1)
    async with working(engine, broker) as draining:
        await place(broker, "a", "b")
        await until(lambda: is_running(broker, "a"))
        draining.set()
        go_on.set()
    assert (await job(broker, "a")).state is JobState.COMPLETED
    await place_waiting(broker)
    assert ((await job(broker, "b")).state, (await broker.counts.stats()).instances) == (
        JobState.WAITING, 0,
    )  # fmt: skip


async def test_what_outlasts_the_grace_time_is_handed_back_uncounted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("preble_workers.life.DRAIN_S", 0.01)

    broker = MemoryBroker()
    engine = ScriptedEngine(for_ever)
    async with working(engine, broker):
        await place(broker, "a")
        await until(lambda: is_running(broker, "a"))
    await place_waiting(broker)
    view = await job(broker, "a")
    assert (view.state, view.attempt, engine.running) == (JobState.WAITING, 0, 0)


async def test_a_fenced_life_stops_its_jobs_and_begins_anew() -> None:
    broker = MemoryBroker()
    engine = ScriptedEngine(for_ever)
    async with working(engine, broker, Settings(lease_s=0.05)):
        await place(broker, "a")
        await until(lambda: is_running(broker, "a"))
        (first,) = (await broker.bulletin.load_pool()).instances
        engine.answer = at_once
        await broker.retire(first)  # as if its lease had run out
        await place_waiting(broker)

        async def is_new_life() -> bool:
            records = (await broker.bulletin.load_pool()).instances
            return bool(records) and records[0].epoch != first.epoch

        await until(is_new_life)
        assert engine.running == 0
        await place_waiting(broker)
        await ended(broker, "a")


async def test_what_is_cancelled_is_stopped_in_the_engine_at_once() -> None:
    """Long before the lease is renewed, and the slot is free again."""
    broker = MemoryBroker()
    engine = ScriptedEngine(for_ever, slots=1)
    async with working(engine, broker, Settings(lease_s=600)):
        await place(broker, "a", "b")
        await until(engine.is_busy)
        await broker.cancel([JobId("a")])
        engine.answer = at_once
        await ended(broker, "b")
        assert (await job(broker, "a")).state is JobState.CANCELLED
        assert (await job(broker, "b")).state is JobState.COMPLETED


async def test_what_is_cancelled_while_it_waits_in_the_worker_never_starts() -> None:
    broker = MemoryBroker()
    engine = ScriptedEngine(for_ever, slots=1)
    async with working(engine, broker, Settings(lease_s=600)):
        await place(broker, "a", "b")
        await until(engine.is_busy)
        await until(lambda: is_running(broker, "b"))  # leased, and waiting there
        await broker.cancel([JobId("b")])
        await place(broker, "c")
        await until(lambda: is_running(broker, "c"))
        await broker.cancel([JobId("a")])
        engine.answer = at_once
        await ended(broker, "c")
        assert engine.most_running == 1
        assert (await job(broker, "b")).state is JobState.CANCELLED


async def test_a_hung_engine_loses_its_jobs() -> None:
    broker = MemoryBroker()
    settings = Settings(lease_s=0.05, engine_stall_s=0.05)
    async with working(ScriptedEngine(for_ever), broker, settings):
        await place(broker, "a")
        await until(lambda: is_running(broker, "a"))

        async def is_requeued() -> bool:
            token = await broker.lead("test", ttl_s=600)
            assert token
            return JobId("a") in (await broker.reap(token, limit=10)).requeued

        await until(is_requeued)


async def test_an_engine_that_dies_idle_leaves_the_pool_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("preble_workers.worker.ENGINE_PAUSE_S", 0.001)
    broker = MemoryBroker()
    engine = ScriptedEngine(at_once)
    async with working(engine, broker):
        first = await the_record(broker)
        engine.is_up = False
        engine.died.set()
        await until(lambda: has_left(broker))
        engine.died.clear()
        engine.is_up = True
        await next_life(broker, first)
        await place(broker, "a")
        await ended(broker, "a")
    assert engine.starts >= 2
    assert engine.flushes == 0
    assert (await job(broker, "a")).attempt == 1


async def test_a_job_that_its_dead_engine_never_ends_is_handed_back_uncounted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("preble_workers.worker.ENGINE_PAUSE_S", 0.001)
    monkeypatch.setattr("preble_workers.life.DRAIN_S", 0.01)
    broker = MemoryBroker()
    engine = ScriptedEngine(for_ever)
    async with working(engine, broker):
        first = await the_record(broker)
        await place(broker, "a")
        await until(lambda: is_running(broker, "a"))
        engine.answer = at_once
        engine.died.set()
        await until(lambda: has_left(broker))
        engine.died.clear()
        await next_life(broker, first)
        await place_waiting(broker)
        await ended(broker, "a")
    assert (await job(broker, "a")).attempt == 1


async def test_lost_events_end_the_life_and_the_engine_is_flushed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Jobs that run then end well: only what is believed of the cache was lost."""
    monkeypatch.setattr("preble_workers.worker.ENGINE_PAUSE_S", 0.001)
    go_on = asyncio.Event()

    async def when_told(_: EngineRequest) -> Completion:
        await go_on.wait()
        return COMPLETION

    broker = MemoryBroker()
    engine = ScriptedEngine(when_told)
    async with working(engine, broker):
        first = await the_record(broker)
        await place(broker, "a")
        await until(lambda: is_running(broker, "a"))
        engine.events.put_nowait(EventsLost("a gap"))
        await until(engine.has_read)
        assert engine.flushes == 0, "not while a job runs"
        go_on.set()
        await ended(broker, "a")
        await next_life(broker, first)
        assert (engine.starts, engine.flushes) == (2, 1)
        await place(broker, "b")
        await ended(broker, "b")
    for name in ("a", "b"):
        view = await job(broker, name)
        assert (view.state, view.attempt) == (JobState.COMPLETED, 1)


async def test_a_life_that_finds_no_engine_has_it_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after one that was fenced in the moment in which its engine died."""
    monkeypatch.setattr("preble_workers.worker.ENGINE_PAUSE_S", 0.001)
    broker = MemoryBroker()
    engine = ScriptedEngine(at_once)
    async with working(engine, broker):
        first = await the_record(broker)
        engine.events.put_nowait(EngineUnavailable("the engine is not running"))
        await next_life(broker, first)
        await place(broker, "a")
        await ended(broker, "a")
    assert engine.starts == 2


async def test_nothing_is_claimed_while_no_events_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else each short life would begin a job, and hand it back, without an end."""
    monkeypatch.setattr("preble_workers.worker.ENGINE_PAUSE_S", 0.001)

    class DeafEngine(ScriptedEngine):
        async def page_events(self) -> AsyncGenerator[list[PageEvent]]:
            if self.flushes < 3:
                raise EventsLost("nothing to be heard")
            yield []
            await asyncio.Event().wait()

    broker = MemoryBroker()
    engine = DeafEngine(at_once)
    draining = asyncio.Event()
    worker = Worker(broker, engine, Settings(), TOKENIZER, SystemClock(), silent_recorder())
    running = asyncio.create_task(worker.run(draining))
    await until(lambda: has_instance(broker))
    await broker.admit([[submission("a")]])

    async def is_placed_and_ended() -> bool:
        await place_waiting(broker)
        return (await job(broker, "a")).state.is_terminal

    await until(is_placed_and_ended)
    draining.set()
    await running
    assert (engine.most_running, engine.flushes) == (1, 3)


async def test_a_life_that_cannot_take_its_leave_is_followed_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("preble_workers.worker.ENGINE_PAUSE_S", 0.001)

    class Away(MemoryBroker):
        async def retire(self, record: InstanceRecord) -> None:
            del record
            raise BrokerUnavailable("Redis is away")

    broker = Away()
    engine = ScriptedEngine(at_once)
    async with working(engine, broker):
        first = await the_record(broker)
        engine.events.put_nowait(EventsLost("a gap"))
        await next_life(broker, first)
        await place(broker, "a")
        await ended(broker, "a")


def test_pauses_grow_and_never_overflow() -> None:
    assert [engine_pause_s(losses) for losses in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert engine_pause_s(5_000) == LONGEST_ENGINE_PAUSE_S


async def test_a_page_that_follows_an_unknown_one_is_a_loss_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("preble_workers.worker.ENGINE_PAUSE_S", 0.001)
    broker = MemoryBroker()
    engine = ScriptedEngine(at_once)
    async with working(engine, broker):
        first = await the_record(broker)
        engine.events.put_nowait([PagesStored([2], 1, [0] * 16)])
        await next_life(broker, first)
    assert engine.flushes == 1


async def test_an_engine_that_cannot_be_flushed_yet_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("preble_workers.worker.ENGINE_PAUSE_S", 0.001)

    class BusyEngine(ScriptedEngine):
        async def flush(self) -> None:
            await super().flush()
            if self.flushes < 3:
                raise EngineUnavailable("busy")

    broker = MemoryBroker()
    engine = BusyEngine(at_once)
    async with working(engine, broker):
        first = await the_record(broker)
        engine.events.put_nowait(EventsLost("a gap"))
        await next_life(broker, first)
    assert (engine.starts, engine.flushes) == (4, 3)


async def test_a_hung_engine_is_started_again_and_its_jobs_cost_an_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("preble_workers.worker.ENGINE_PAUSE_S", 0.001)
    broker = MemoryBroker()
    engine = ScriptedEngine(for_ever)
    async with working(engine, broker, Settings(lease_s=1.0, engine_stall_s=0.05)):
        first = await the_record(broker)
        await place(broker, "a")
        await until(lambda: is_running(broker, "a"))
        await until(lambda: has_left(broker))
        assert engine.running == 0
        engine.answer = at_once
        await next_life(broker, first)
        assert engine.starts >= 2
        await place_waiting(broker)
        await ended(broker, "a")
    view = await job(broker, "a")
    assert (view.state, view.attempt) == (JobState.COMPLETED, 2)


async def test_a_follower_waits_until_its_leader_has_its_first_token() -> None:
    """Else the engine would compute the same pages twice, beside what was foreseen."""
    go_on = asyncio.Event()
    asked: list[str] = []

    async def when_told(request: EngineRequest) -> Completion:
        asked.append(request.job_id)
        await go_on.wait()
        return COMPLETION

    broker = MemoryBroker()
    async with working(ScriptedEngine(when_told), broker):
        await place(broker, "a", "b", prompt_tokens=40, is_shared=True)
        await until(lambda: is_running(broker, "b"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert asked == ["a"]
        go_on.set()
        await ended(broker, "a", "b")
    results = [(await job(broker, name)).result for name in ("a", "b")]
    said = [(each.prediction.resident_tokens, each.prediction.expected_tokens)
            for each in results if each and each.prediction]  # fmt: skip
    assert said == [(0, 0), (0, 32)]


async def test_engine_and_pool_must_fit() -> None:
    for info, complaint in (
        (EngineInfo(4, 100_000, 16, context_length=100), "context of 100 tokens is shorter"),
        (EngineInfo(4, 1_000, 16, context_length=8192), "KV cache of 1000 tokens cannot hold"),
        (EngineInfo(4, 100_000, 48, context_length=8192), "not a multiple of page_size 48"),
    ):
        engine = ScriptedEngine(at_once)
        engine.info = info
        worker = Worker(
            MemoryBroker(), engine, Settings(), TOKENIZER, SystemClock(), silent_recorder()
        )
        with pytest.raises(ConfigError, match=complaint):
            await worker.run(asyncio.Event())
        assert not engine.is_up


async def test_another_pool_is_refused() -> None:
    broker = MemoryBroker()
    await broker.agreement.join_pool(PoolRecord("other", "f", 1, 1, 64, 16))
    worker = Worker(
        broker, ScriptedEngine(at_once), Settings(), TOKENIZER, SystemClock(), silent_recorder()
    )
    with pytest.raises(PoolMismatch, match="model"):
        await worker.run(asyncio.Event())

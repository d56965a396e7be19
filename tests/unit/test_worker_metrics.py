"""What a worker counts of the jobs it runs, and of its lives."""

import asyncio

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from worker_support import (
    COMPLETION,
    ScriptedEngine,
    at_once,
    ended,
    for_ever,
    place,
    the_record,
    until,
    working,
)

from preble.broker.memory import MemoryBroker
from preble.clock import SystemClock
from preble.config import Settings
from preble.errors import EngineRefused
from preble.messages import JobId
from preble.metrics import WorkerMetrics
from preble.tracing import NoTracing
from preble_workers.engine import Completion, EngineRequest
from preble_workers.recorder import Recorder

pytestmark = pytest.mark.anyio


class Page:
    """What a worker's page says."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        metrics = WorkerMetrics(self._registry)
        self.recorder = Recorder(metrics, NoTracing(), SystemClock(), model="m")

    def __call__(self, name: str, **labels: str) -> float:
        return self._registry.get_sample_value(f"preble_{name}", labels) or 0


async def test_each_job_is_timed_and_its_hits_are_counted() -> None:
    page, broker = Page(), MemoryBroker()
    async with working(ScriptedEngine(at_once), broker, recorder=page.recorder):
        await place(broker, "a", "b", "c")
        await ended(broker, "a", "b", "c")
    for name in ("queue_wait", "ttft", "tpot", "engine", "e2e"):
        assert page(f"job_{name}_seconds_count") == 3, name
    assert page("job_ttft_seconds_sum") == pytest.approx(3 * COMPLETION.ttft_s)
    assert page("job_e2e_seconds_sum") >= page("job_queue_wait_seconds_sum")
    assert page("executions_ended_total", result="completed") == 3
    assert page("worker_prompt_tokens_total") == 30
    assert page("worker_hit_tokens_delivered_total") == 3 * COMPLETION.cached_tokens


async def test_what_the_engine_refuses_is_counted_by_its_code() -> None:
    async def refuse(_: EngineRequest) -> Completion:
        raise EngineRefused("too strange")

    page, broker = Page(), MemoryBroker()
    async with working(ScriptedEngine(refuse), broker, recorder=page.recorder):
        await place(broker, "a")
        await ended(broker, "a")
    assert page("executions_ended_total", result="engine_refused") == 1
    assert page("job_e2e_seconds_count") == 0


async def test_what_runs_and_waits_now_is_shown_until_the_life_ends() -> None:
    go_on = asyncio.Event()

    async def when_told(_: EngineRequest) -> Completion:
        await go_on.wait()
        return COMPLETION

    async def is_full() -> bool:
        return (page("worker_running_jobs"), page("worker_waiting_jobs")) == (2, 1)

    page, broker, engine = Page(), MemoryBroker(), ScriptedEngine(when_told, slots=2)
    async with working(engine, broker, recorder=page.recorder):
        await place(broker, "a", "b", "c")
        await until(is_full)
        assert page("worker_slots") == 2
        assert page("worker_kv_used_tokens") > 0
        go_on.set()
        await ended(broker, "a", "b", "c")
    assert (page("worker_running_jobs"), page("worker_waiting_jobs")) == (0, 0)
    assert page("lives_ended_total", reason="drained") == 1


async def test_a_lost_lease_and_a_fenced_life_are_counted() -> None:
    async def is_fenced() -> bool:
        return page("lives_ended_total", reason="fenced") == 1

    async def has_lost() -> bool:
        return page("leases_lost_total") == 1

    page, broker, engine = Page(), MemoryBroker(), ScriptedEngine(for_ever)
    async with working(engine, broker, Settings(lease_s=0.05), page.recorder):
        await place(broker, "a")
        await until(engine.is_busy)
        await broker.cancel([JobId("a")])
        await until(has_lost)
        await broker.register(replace(await the_record(broker), epoch="another"), lease_s=60)
        await until(is_fenced)

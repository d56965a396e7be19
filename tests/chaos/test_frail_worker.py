"""The engine of the suite's workers: it crashes when told to, and comes back empty."""

import asyncio
import os
import signal

import pytest
from chaos.frail_worker import FrailEngine
from engines import complete

from preble.clock import SystemClock
from preble.cost_model import load_cost_model
from preble.errors import EngineUnavailable
from preble.messages import JobId, SamplingParams, pack_tokens
from preble_workers.emulated_engine import EmulatedEngine
from preble_workers.engine import EngineInfo, EngineRequest

INFO = EngineInfo(slots=2, kv_capacity_tokens=1_000, page_size=16, context_length=500)


def emulated(speed: float) -> EmulatedEngine:
    model = load_cost_model("mistral_7b_a6000")
    return EmulatedEngine(
        INFO, chunk_tokens=100, cost_model=model, speed=speed, clock=SystemClock()
    )


def request() -> EngineRequest:
    sampling = SamplingParams(max_new_tokens=2)
    return EngineRequest(JobId("j"), pack_tokens(range(100)), sampling, "")


@pytest.mark.anyio
async def test_a_crash_loses_what_runs_and_a_new_start_brings_it_back() -> None:
    """The first engine would take an hour."""
    engines = iter([emulated(1e-5), emulated(1e4)])
    engine = FrailEngine(lambda: next(engines))
    await engine.start()
    running = asyncio.create_task(complete(engine, request()))
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGUSR1)
    async with asyncio.timeout(10):
        await engine.lost()
        with pytest.raises(EngineUnavailable):
            await running
        await engine.start()
        completion = await complete(engine, request())
    assert len(completion.output_ids) == 2
    assert completion.cached_tokens == 0
    await engine.close()

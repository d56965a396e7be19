"""The emulated engine: refusals, figures, events and time."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from engines import complete

from preble.clock import Clock, ManualClock, SystemClock
from preble.cost_model import StepRequest, load_cost_model
from preble.errors import EngineRefused, EngineUnavailable
from preble.messages import JobId, SamplingParams, pack_tokens
from preble_workers.emulated_engine import EmulatedEngine
from preble_workers.engine import (
    Completion,
    EngineInfo,
    EngineRequest,
    PageEvent,
    PagesRemoved,
    PagesStored,
)

pytestmark = pytest.mark.anyio

COST_MODEL = load_cost_model("mistral_7b_a6000")
INFO = EngineInfo(slots=4, kv_capacity_tokens=64, page_size=4, context_length=60)
FAST = 1e9
FROZEN = 1e-9


def make_engine(*, speed: float = FAST, clock: Clock | None = None) -> EmulatedEngine:
    return EmulatedEngine(
        INFO,
        chunk_tokens=16,
        cost_model=COST_MODEL,
        speed=speed,
        clock=clock or SystemClock(),
    )


@pytest.fixture
async def engine() -> AsyncIterator[EmulatedEngine]:
    engine = make_engine()
    await engine.start()
    yield engine
    await engine.close()


def make_request(prompt_tokens: int, max_new_tokens: int = 4, *, first: int = 0) -> EngineRequest:
    prompt = pack_tokens(range(first, first + prompt_tokens))
    return EngineRequest(JobId("j"), prompt, SamplingParams(max_new_tokens=max_new_tokens), "")


async def test_it_says_what_it_takes() -> None:
    engine = make_engine()
    assert await engine.start() == INFO
    await engine.close()


async def test_it_echoes_the_end_of_the_prompt(engine: EmulatedEngine) -> None:
    completion = await complete(engine, make_request(10, 3))
    assert completion.output_ids == (7, 8, 9)
    assert (completion.text, completion.finish_reason) == (None, "length")


async def test_a_longer_output_repeats_the_prompt(engine: EmulatedEngine) -> None:
    completion = await complete(engine, make_request(3, 8))
    assert completion.output_ids == (0, 1, 2, 0, 1, 2, 0, 1)


async def test_it_reports_the_tokens_it_did_not_compute(engine: EmulatedEngine) -> None:
    first = await complete(engine, make_request(20))
    again = await complete(engine, make_request(20))
    longer = await complete(engine, make_request(22))
    cached = [completion.cached_tokens for completion in (first, again, longer)]
    assert cached == [0, 16, 20]


@pytest.mark.parametrize(
    ("prompt_tokens", "max_new_tokens", "reason"),
    [(0, 4, "at least one token"), (57, 4, "context of 60")],
)
async def test_it_refuses_what_can_never_run(
    engine: EmulatedEngine, prompt_tokens: int, max_new_tokens: int, reason: str
) -> None:
    with pytest.raises(EngineRefused, match=reason):
        await complete(engine, make_request(prompt_tokens, max_new_tokens))


async def test_it_refuses_what_its_kv_cache_can_never_hold() -> None:
    info = EngineInfo(slots=1, kv_capacity_tokens=31, page_size=4, context_length=60)
    engine = EmulatedEngine(
        info, chunk_tokens=16, cost_model=COST_MODEL, speed=FAST, clock=SystemClock()
    )
    with pytest.raises(EngineRefused, match="KV cache of 28"):
        await complete(engine, make_request(25, 4))


async def test_more_requests_than_fit_all_complete(engine: EmulatedEngine) -> None:
    requests = [make_request(40, 4, first=100 * index) for index in range(12)]
    completions = await asyncio.gather(*(complete(engine, request) for request in requests))
    assert [completion.output_ids[-1] for completion in completions] == [
        100 * index + 39 for index in range(12)
    ]


async def test_events_tell_what_is_stored_and_evicted(engine: EmulatedEngine) -> None:
    """Capacity 16 pages: the second request of 11 evicts 5 of the first's 10."""
    await complete(engine, make_request(40, 2))
    await complete(engine, make_request(40, 2, first=100))
    events = await anext(engine.page_events())
    stored = [len(event.page_hashes) for event in events if isinstance(event, PagesStored)]
    removed = [len(event.page_hashes) for event in events if isinstance(event, PagesRemoved)]
    assert (sum(stored), removed) == (20, [5])


async def test_events_end_when_the_engine_closes(engine: EmulatedEngine) -> None:
    async def read() -> list[list[PageEvent]]:
        return [batch async for batch in engine.page_events()]

    reader = asyncio.create_task(read())
    await complete(engine, make_request(40))
    await engine.close()
    batches = await reader
    assert batches[0] == [], "nothing was held when it began to read"
    assert batches[1:]
    assert all(batches[1:])


async def test_cancelling_frees_the_slot_and_the_pages() -> None:
    """Four frozen requests fill all slots; each leaves no page behind that it did not fill."""
    engine = make_engine(speed=FROZEN)
    await engine.start()
    tasks = [asyncio.create_task(complete(engine, make_request(10))) for _ in range(4)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    before = engine.steps
    assert engine.steps > before, "idle again"
    await engine.close()


async def test_closing_ends_outstanding_calls() -> None:
    engine = make_engine(speed=FROZEN)
    await engine.start()
    task = asyncio.create_task(complete(engine, make_request(10)))
    await asyncio.sleep(0)
    await engine.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        await task
    with pytest.raises(EngineUnavailable, match="closed"):
        await complete(engine, make_request(10))


async def test_steps_stand_still_while_one_is_under_way() -> None:
    engine = make_engine(speed=FROZEN)
    await engine.start()
    task = asyncio.create_task(complete(engine, make_request(10)))
    await asyncio.sleep(0)
    assert engine.steps == engine.steps
    await engine.close()
    with pytest.raises(EngineUnavailable):
        await task


async def test_each_step_takes_the_time_the_cost_model_predicts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """30 prompt tokens in chunks of 16, and 2 of output: 16, 14 and 1 new tokens.

    The clock moves only by what is slept, so TTFT is exactly the first two steps.
    """
    clock = ManualClock()
    yield_once = asyncio.sleep

    async def sleep(delay_s: float) -> None:
        clock.advance(delay_s)
        await yield_once(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    engine = make_engine(speed=2.0, clock=clock)
    await engine.start()
    completion = await complete(engine, make_request(30, 2))
    await engine.close()
    steps = [(16, 16), (14, 30), (1, 31)]
    times = [COST_MODEL.step_s((StepRequest(*step),)) / 2.0 for step in steps]
    assert completion.ttft_s == pytest.approx(sum(times[:2]))
    assert clock.now_s() == pytest.approx(sum(times))


async def test_the_same_requests_always_give_the_same() -> None:
    runs: list[list[Completion]] = []
    for _ in range(2):
        engine = make_engine()
        await engine.start()
        requests = [make_request(10 + index, 3) for index in range(6)]
        runs.append(await asyncio.gather(*(complete(engine, request) for request in requests)))
        await engine.close()
    figures = [[(each.output_ids, each.cached_tokens) for each in run] for run in runs]
    assert figures[0] == figures[1]

"""What every engine promises, whatever computes its tokens."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Literal

import pytest
from engines import Told, complete
from msgspec.structs import replace
from server_stub import STREAM_HEAD, ServerStub, response
from sglang_stub import SGLangStub
from vllm_stub import VLLMStub

from preble.clock import SystemClock
from preble.cost_model import load_cost_model
from preble.errors import EngineUnavailable
from preble.messages import JobId, SamplingParams, pack_tokens
from preble_workers.emulated_engine import EmulatedEngine
from preble_workers.engine import (
    AllPagesCleared,
    Engine,
    EngineInfo,
    EngineRequest,
    PageEvent,
    PagesRemoved,
    PagesStored,
)
from preble_workers.http_engine import HttpEngine
from preble_workers.noop_engine import NoopEngine

pytestmark = pytest.mark.anyio

Kind = Literal["emulated", "sglang", "vllm", "noop"]
"""The middle two are `HttpEngine` before a server of that name."""

INFO = EngineInfo(slots=4, kv_capacity_tokens=640, page_size=16, context_length=512)

every_engine = pytest.mark.parametrize("kind", ["emulated", "sglang", "vllm", "noop"])
engines_that_cache = pytest.mark.parametrize("kind", ["emulated", "sglang", "vllm"])
engines_that_take_time = engines_that_cache


@asynccontextmanager
async def running(
    kind: Kind, *, hangs: bool = False, is_busy: bool = False
) -> AsyncGenerator[Engine]:
    """A started engine, closed at the end; one that `hangs` never completes a request."""
    async with make_stub(kind, is_busy=is_busy) as stub:
        if hangs:
            stub.go_on.clear()
        engine = make_engine(kind, stub.url, speed=1e-9 if hangs else 1e9)
        assert replace(await engine.start(), has_kv_cache=True) == INFO
        yield engine
        await engine.close()


def make_stub(kind: Kind, *, is_busy: bool) -> ServerStub:
    """The server that an engine speaks to; of those that speak to none, one that is left alone."""
    if kind == "vllm":
        stub: ServerStub = VLLMStub(page_size=INFO.page_size)
        stub.pages["/reset_prefix_cache"] = {"success": not is_busy}
        return stub
    stub = SGLangStub(
        server_info={"enable_deterministic_inference": True}, page_size=INFO.page_size
    )
    stub.pages["/flush_cache"] = {}
    if is_busy:
        stub.scripted["/flush_cache"] = [response(400, b"busy")]
    return stub


def make_engine(kind: Kind, url: str, *, speed: float) -> Engine:
    match kind:
        case "emulated":
            return EmulatedEngine(
                INFO,
                chunk_tokens=64,
                cost_model=load_cost_model("mistral_7b_a6000"),
                speed=speed,
                clock=SystemClock(),
            )
        case "sglang" | "vllm":
            return HttpEngine(url, assumed=INFO, block_size=64, clock=SystemClock())
        case "noop":
            return NoopEngine(INFO)


def make_request(
    ids: Iterable[int], *, salt: str = "", max_new_tokens: int = 4, seed: int | None = None,
    logprobs: int | None = None,
) -> EngineRequest:  # fmt: skip
    sampling = SamplingParams(max_new_tokens=max_new_tokens, seed=seed, logprobs=logprobs)
    return EngineRequest(JobId("j"), pack_tokens([*ids]), sampling, salt)


async def start_requests(engine: Engine, count: int) -> list[asyncio.Task[object]]:
    """Outstanding requests of an engine that hangs."""
    tasks: list[asyncio.Task[object]] = [
        asyncio.create_task(complete(engine, make_request(range(100 * i, 100 * i + 40))))
        for i in range(count)
    ]
    await asyncio.sleep(0)
    return tasks


@every_engine
async def test_a_request_completes(kind: Kind) -> None:
    async with running(kind) as engine:
        completion = await complete(engine, make_request(range(40)))
        assert completion.output_ids == (36, 37, 38, 39)
        assert (completion.finish_reason, completion.cached_tokens) == ("length", 0)
        assert completion.ttft_s >= 0


@every_engine
async def test_many_requests_complete_at_once(kind: Kind) -> None:
    async with running(kind) as engine:
        requests = [make_request(range(start, start + 100)) for start in range(0, 2000, 100)]
        completions = await asyncio.gather(*(complete(engine, request) for request in requests))
        assert [completion.output_ids[-1] for completion in completions] == [*range(99, 2000, 100)]


@every_engine
async def test_at_least_one_prompt_token_is_computed(kind: Kind) -> None:
    async with running(kind) as engine:
        for prompt_tokens in (1, 16, 17, 32, 33, 48):
            request = make_request(range(prompt_tokens))
            for _ in range(2):
                assert (await complete(engine, request)).cached_tokens <= prompt_tokens - 1


@engines_that_cache
async def test_the_second_run_takes_whole_pages_from_the_cache(kind: Kind) -> None:
    async with running(kind) as engine:
        await complete(engine, make_request(range(48)))
        assert (await complete(engine, make_request(range(48)))).cached_tokens == 32
        assert (await complete(engine, make_request(range(49)))).cached_tokens == 48


@engines_that_take_time
async def test_a_cancelled_request_is_gone(kind: Kind) -> None:
    async with running(kind, hangs=True) as engine:
        tasks = await start_requests(engine, 3)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        before = engine.steps
        assert engine.steps > before, "an idle engine counts as making progress"


@engines_that_take_time
async def test_a_hanging_engine_makes_no_progress(kind: Kind) -> None:
    async with running(kind, hangs=True) as engine:
        tasks = await start_requests(engine, 1)
        before = engine.steps
        assert engine.steps == before
        tasks[0].cancel()
        await asyncio.wait(tasks)


@engines_that_take_time
async def test_close_ends_outstanding_requests(kind: Kind) -> None:
    async with running(kind, hangs=True) as engine:
        tasks = await start_requests(engine, 3)
    for task in tasks:
        with pytest.raises(EngineUnavailable):
            await task


@pytest.mark.parametrize("kind", ["sglang", "vllm"])
async def test_a_server_that_dies_loses_its_requests_and_its_cache(kind: Kind) -> None:
    async with make_stub(kind, is_busy=False) as stub:
        engine = make_engine(kind, stub.url, speed=1.0)
        await engine.start()
        await complete(engine, make_request(range(40)))
        stub.scripted[stub.generate_path] = [STREAM_HEAD]  # and no more
        with pytest.raises(EngineUnavailable):
            await complete(engine, make_request(range(40)))
    with pytest.raises(EngineUnavailable):
        await engine.start()
    assert (await anext(engine.page_events()))[-1] == AllPagesCleared()
    await engine.close()


@every_engine
async def test_a_closed_engine_takes_nothing(kind: Kind) -> None:
    async with running(kind) as engine:
        pass
    with pytest.raises(EngineUnavailable):
        await complete(engine, make_request(range(8)))


@every_engine
async def test_an_idle_engine_makes_progress(kind: Kind) -> None:
    async with running(kind) as engine:
        before = engine.steps
        assert engine.steps > before


@every_engine
@pytest.mark.parametrize("max_new_tokens", [1, 4])
async def test_the_first_token_is_told_once_and_before_the_end(
    kind: Kind, max_new_tokens: int
) -> None:
    told: list[bool] = []
    has_ended = False
    async with running(kind) as engine:
        request = make_request(range(40), max_new_tokens=max_new_tokens)
        await engine.generate(request, lambda ids, text, logprobs: told.append(has_ended))  # noqa: ARG005  # when is asked, not what
        has_ended = True
        await complete(engine, make_request(range(40)))
    assert told == [False]


@every_engine
async def test_the_tokens_of_a_streamed_request_make_its_output(kind: Kind) -> None:
    told = Told()
    async with running(kind) as engine:
        request = replace(make_request(range(40), max_new_tokens=8), is_streamed=True)
        completion = await engine.generate(request, told)
    assert tuple(told.ids) == completion.output_ids
    assert len(told.texts) == (1 if kind == "noop" else 8), "one call for each step"
    if completion.text is None:
        assert set(told.texts) == {None}
    else:
        assert "".join(text or "" for text in told.texts) == completion.text


@every_engine
@pytest.mark.parametrize("num_top", [0, 3])
async def test_each_token_has_its_logprobs_streamed_or_not(kind: Kind, num_top: int) -> None:
    told = Told()
    async with running(kind) as engine:
        request = make_request(range(40), max_new_tokens=8, logprobs=num_top)
        whole = await complete(engine, request)
        streamed = await engine.generate(replace(request, is_streamed=True), told)
    assert len(whole.logprobs) == len(whole.output_ids) == 8
    assert whole.logprobs == streamed.logprobs == tuple(told.logprobs)
    for each in whole.logprobs:
        found = [logprob for _, logprob in each.top]
        assert len(found) == (num_top if kind in {"sglang", "vllm"} else min(num_top, 1))
        assert found == sorted(found, reverse=True), "likeliest first"
        assert all(math.isfinite(logprob) for logprob in [each.logprob, *found])


@every_engine
async def test_logprobs_that_nobody_asked_for_are_not_told(kind: Kind) -> None:
    told = Told()
    async with running(kind) as engine:
        completion = await engine.generate(replace(make_request(range(40)), is_streamed=True), told)
    assert (completion.logprobs, told.logprobs) == ((), [])


@every_engine
@pytest.mark.parametrize("seed", [0, 2**63 - 1])
async def test_a_seed_makes_an_answer_repeatable(kind: Kind, seed: int) -> None:
    async with running(kind) as engine:
        request = make_request(range(40), seed=seed)
        first, again = await complete(engine, request), await complete(engine, request)
    assert first.output_ids == again.output_ids


@engines_that_take_time
async def test_a_request_without_a_first_token_tells_none(kind: Kind) -> None:
    told = Told()
    async with running(kind, hangs=True) as engine:
        task = asyncio.create_task(engine.generate(make_request(range(40)), told))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert told.texts == []


@engines_that_cache
async def test_after_a_flush_the_first_event_is_that_all_is_gone(kind: Kind) -> None:
    async with running(kind) as engine:
        reader = engine.page_events()
        await complete(engine, make_request(range(40)))
        assert isinstance((await next_events(reader))[0], PagesStored)
        await engine.flush()
        assert (await next_events(reader))[0] == AllPagesCleared()
        await complete(engine, make_request(range(40)))
        (event,) = await next_events(reader)
        assert isinstance(event, PagesStored)
        assert event.parent_hash is None


@every_engine
async def test_a_flush_of_an_empty_cache_is_told_too(kind: Kind) -> None:
    async with running(kind) as engine:
        reader = engine.page_events()
        assert await anext(reader) == []
        await engine.flush()
        if kind != "noop":
            assert await next_events(reader) == [AllPagesCleared()]


async def next_events(reader: AsyncIterator[list[PageEvent]]) -> list[PageEvent]:
    """The next batch that is not empty."""
    async with asyncio.timeout(20):
        while not (events := await anext(reader)):
            pass
    return events


@engines_that_cache
async def test_a_busy_engine_is_not_flushed(kind: Kind) -> None:
    async with running(kind, hangs=True, is_busy=True) as engine:
        tasks = await start_requests(engine, 1)
        with pytest.raises(EngineUnavailable):
            await engine.flush()
        tasks[0].cancel()
        await asyncio.wait(tasks)


@every_engine
async def test_a_living_engine_is_not_lost_and_a_later_start_is_harmless(kind: Kind) -> None:
    async with running(kind) as engine:
        lost = asyncio.ensure_future(engine.lost())
        assert replace(await engine.start(), has_kv_cache=True) == INFO
        await complete(engine, make_request(range(40)))
        assert not lost.done()
    async with asyncio.timeout(20):
        await lost


@every_engine
async def test_events_are_prefix_closed_and_end_with_the_engine(kind: Kind) -> None:
    """Twice the capacity runs through, in prompts that share their first 64 tokens."""
    parents: dict[int, int | None] = {}

    async def follow(engine: Engine) -> None:
        async for batch in engine.page_events():
            for event in batch:
                fold(parents, event)

    async with running(kind) as engine:
        reader = asyncio.create_task(follow(engine))
        for start in range(1000, 3000, 200):
            ids = [*range(64), *range(start, start + 100)]
            await complete(engine, make_request(ids, salt="s"))
    await reader
    assert len(parents) <= INFO.kv_capacity_tokens / INFO.page_size
    assert bool(parents) == (kind != "noop")


def fold(parents: dict[int, int | None], event: PageEvent) -> None:
    """Take one event; nothing may ever be held without what precedes it."""
    match event:
        case PagesStored():
            assert len(event.token_ids) == len(event.page_hashes) * INFO.page_size
            assert event.cache_salt == "s"
            parent = event.parent_hash
            for page_hash in event.page_hashes:
                assert parent is None or parent in parents
                parents[page_hash] = parent
                parent = page_hash
        case PagesRemoved():
            for page_hash in event.page_hashes:
                del parents[page_hash]
            assert all(parent is None or parent in parents for parent in parents.values())
        case AllPagesCleared():
            parents.clear()

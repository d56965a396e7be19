"""The adapter for a running vLLM, against a stand-in that speaks its dialect."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from engines import Told, complete, make_http_engine
from kv_events_stub import KvEventsStub, stored
from msgspec.structs import replace
from server_stub import STREAM_HEAD, Json, response, stream
from vllm_stub import RECORDED, VLLMStub, metrics, step, trial_answer, usage

from preble.errors import ConfigError, EngineRefused, EngineUnavailable
from preble.messages import JobId, SamplingParams, pack_tokens
from preble_workers.engine import AllPagesCleared, EngineInfo, EngineRequest, PagesStored
from preble_workers.http_engine import HttpEngine
from preble_workers.vllm_metrics import engine_info, server_identity, server_load
from preble_workers.vllm_wire import Model

pytestmark = pytest.mark.anyio

ASSUMED = EngineInfo(slots=4, kv_capacity_tokens=99, page_size=64, context_length=100)
TOLD = EngineInfo(slots=4, kv_capacity_tokens=640, page_size=16, context_length=512)
make_engine = partial(make_http_engine, assumed=ASSUMED)


@pytest.fixture
async def stub() -> AsyncIterator[VLLMStub]:
    async with VLLMStub() as stub:
        yield stub


@pytest.fixture
async def engine(stub: VLLMStub) -> AsyncIterator[HttpEngine]:
    engine = make_engine(stub.url)
    await engine.start()
    yield engine
    await engine.close()


def make_request(sampling: SamplingParams | None = None, *, salt: str = "") -> EngineRequest:
    sampling = sampling or SamplingParams(max_new_tokens=4)
    return EngineRequest(JobId("job-1"), pack_tokens(range(40)), sampling, salt)


async def refused(stub: VLLMStub) -> str:
    """Why a server is of no use."""
    engine = make_engine(stub.url)
    with pytest.raises(ConfigError) as told:
        await engine.start()
    await engine.close()
    return str(told.value)


async def test_it_takes_what_the_server_says(stub: VLLMStub) -> None:
    engine = make_engine(stub.url)
    assert await engine.start() == TOLD
    await engine.close()


async def test_a_server_without_metrics_is_taken_as_configured(stub: VLLMStub) -> None:
    stub.pages["/metrics"] = None
    engine = make_engine(stub.url)
    assert await engine.start() == replace(ASSUMED, context_length=512)
    await engine.close()


async def test_a_server_without_prefix_caching_holds_nothing(stub: VLLMStub) -> None:
    stub.pages["/metrics"] = metrics(caching=False)
    engine = make_engine(stub.url)
    assert not (await engine.start()).has_kv_cache
    await complete(engine, make_request())
    assert await anext(engine.page_events()) == []
    await engine.close()


def test_the_metrics_of_a_real_server_are_read() -> None:
    told = cast("str", RECORDED["metrics"])
    info = engine_info(Model("smol", 256), told, ASSUMED)
    assert info == EngineInfo(4, kv_capacity_tokens=288, page_size=32, context_length=256)
    assert server_load(told) is not None
    assert server_identity(told) is not None


async def test_a_server_that_tells_no_token_ids_is_refused(stub: VLLMStub) -> None:
    stub.trial = trial_answer(token_ids=False)
    assert "tells no token ids (return_token_ids): it is too old" in await refused(stub)


async def test_a_server_without_a_model_is_refused(stub: VLLMStub) -> None:
    stub.pages["/v1/models"] = {"data": []}
    assert "does not answer like vLLM" in await refused(stub)


async def test_a_server_that_is_not_well_yet_is_unavailable(stub: VLLMStub) -> None:
    stub.trial = response(500, b'{"error": {"message": "EngineCore died", "code": 500}}')
    engine = make_engine(stub.url)
    with pytest.raises(EngineUnavailable, match="EngineCore died"):
        await engine.start()
    await engine.close()


@pytest.mark.parametrize(
    ("trial", "page", "warning"),
    [
        (trial_answer(cached_tokens=False), metrics(), "--enable-prompt-tokens-details"),
        (trial_answer(), metrics(running=2, waiting=1), "has 3 requests of others"),
    ],
)
async def test_what_spoils_predictions_is_said_at_the_start(
    stub: VLLMStub, caplog: pytest.LogCaptureFixture, trial: bytes, page: str, warning: str
) -> None:
    stub.trial, stub.pages["/metrics"] = trial, page
    engine = make_engine(stub.url)
    await engine.start()
    await engine.close()
    assert warning in caplog.text


async def test_a_request_is_sent_whole(stub: VLLMStub, engine: HttpEngine) -> None:
    sampling = SamplingParams(
        max_new_tokens=2, temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, frequency_penalty=0.2,
        presence_penalty=0.3, repetition_penalty=1.1, stop=("END",), ignore_eos=True,
    )  # fmt: skip
    await complete(engine, make_request(sampling, salt="tenant"))
    body = await stub.requests["/v1/completions"].get()
    assert str(body.pop("request_id")).startswith("job-1-")
    assert body == {
        "model": "smol", "prompt": [*range(40)], "max_tokens": 2, "temperature": 0.5,
        "top_p": 0.9, "top_k": 7, "min_p": 0.1, "frequency_penalty": 0.2,
        "presence_penalty": 0.3, "repetition_penalty": 1.1, "stop": ["END"], "ignore_eos": True,
        "stream": True, "stream_interval": 32, "stream_options": {"include_usage": True},
        "return_token_ids": True, "cache_salt": "tenant",
    }  # fmt: skip


async def test_of_a_streamed_request_each_token_is_asked_for(
    stub: VLLMStub, engine: HttpEngine
) -> None:
    await complete(engine, replace(make_request(), is_streamed=True))
    assert (await stub.requests["/v1/completions"].get())["stream_interval"] == 1


def recorded(name: str) -> bytes:
    """An answer that a real server gave."""
    said = cast("dict[str, str]", RECORDED[name])
    return response(200, said["text"].encode(), {"content-type": "text/event-stream"})


async def test_a_real_stream_is_read(stub: VLLMStub, engine: HttpEngine) -> None:
    stub.scripted["/v1/completions"] = [recorded("stream")]
    told = Told()
    completion = await engine.generate(replace(make_request(), is_streamed=True), told)
    assert completion.text == " Vienna. The capital of the"
    assert completion.finish_reason == "length"
    assert len(told.texts) == 6
    assert tuple(told.ids) == completion.output_ids
    assert "".join(text or "" for text in told.texts) == completion.text


async def test_a_real_stop_string_is_not_in_the_text(stub: VLLMStub, engine: HttpEngine) -> None:
    stub.scripted["/v1/completions"] = [recorded("stream_stop")]
    completion = await complete(engine, make_request())
    assert completion.text == " Vienna. The capital of the "
    assert completion.finish_reason == "stop"
    assert completion.cached_tokens == 32


@pytest.mark.parametrize(
    ("name", "message"), [("too_long", "maximum context length"), ("unknown_model", "`nope`")]
)
async def test_a_real_refusal_is_told(
    stub: VLLMStub, engine: HttpEngine, *, name: str, message: str
) -> None:
    said = cast("dict[str, str]", RECORDED[name])
    stub.scripted["/v1/completions"] = [response(int(said["status"]), said["text"].encode())]
    with pytest.raises(EngineRefused, match=message):
        await complete(engine, make_request())


async def test_a_real_refusal_may_come_in_a_stream(stub: VLLMStub, engine: HttpEngine) -> None:
    stub.scripted["/v1/completions"] = [recorded("out_of_vocabulary")]
    with pytest.raises(EngineRefused, match="999999 is out of vocabulary"):
        await complete(engine, make_request())


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([step([5], finish_reason=None), usage(0)], "cut short"),
        ([step([5], finish_reason="abort"), usage(0)], "ended the request: abort"),
        ([{"error": {"message": "crash", "code": 500}}], "500: crash"),
        (["nonsense"], "not vLLM's"),
    ],
)
async def test_a_stream_may_end_badly(
    stub: VLLMStub, engine: HttpEngine, events: list[Json | str], message: str
) -> None:
    stub.scripted["/v1/completions"] = [stream(*events)]
    with pytest.raises(EngineUnavailable, match=message):
        await complete(engine, make_request())


async def test_a_broken_connection_is_unavailable(stub: VLLMStub, engine: HttpEngine) -> None:
    stub.scripted["/v1/completions"] = [STREAM_HEAD]
    with pytest.raises(EngineUnavailable, match="no connection to the engine"):
        await complete(engine, make_request())


async def test_cancelling_disconnects(stub: VLLMStub, engine: HttpEngine) -> None:
    stub.go_on.clear()
    task = asyncio.create_task(complete(engine, make_request()))
    await stub.requests["/v1/completions"].get()
    task.cancel()
    await asyncio.wait({task})
    async with asyncio.timeout(20):
        await stub.left.wait()


async def test_a_silent_server_makes_progress_while_its_figures_move(stub: VLLMStub) -> None:
    engine = make_engine(stub.url, pulse_s=0.0)
    await engine.start()
    stub.go_on.clear()
    task = asyncio.create_task(complete(engine, make_request()))
    await stub.requests["/v1/completions"].get()
    assert await pulses(stub, engine, moving=True)
    assert not await pulses(stub, engine, moving=False)
    task.cancel()
    await asyncio.wait({task})
    await engine.close()


async def pulses(stub: VLLMStub, engine: HttpEngine, *, moving: bool) -> bool:
    """Whether the engine counts steps, after the server was asked some times."""
    await asked(stub, moving=moving)  # what was known before has been told now
    before = engine.steps
    await asked(stub, moving=moving)
    return engine.steps > before


async def asked(stub: VLLMStub, *, moving: bool) -> None:
    """Until the server was asked for its figures three times more."""
    requests = stub.requests["/metrics"]
    while not requests.empty():
        requests.get_nowait()
    for turn in range(3):
        if moving:
            stub.pages["/metrics"] = metrics(running=1, waiting=turn)
        async with asyncio.timeout(20):
            await requests.get()


async def test_a_silent_server_without_figures_makes_progress_while_it_is_well(
    stub: VLLMStub,
) -> None:
    stub.pages["/metrics"] = None
    engine = make_engine(stub.url)
    await engine.start()
    assert await engine.is_healthy()
    stub.pages["/health"] = None
    assert not await engine.is_healthy()
    await engine.close()


async def test_a_server_that_is_gone_is_not_well() -> None:
    async with VLLMStub() as stub:
        engine = make_engine(stub.url)
        await engine.start()
    assert not await engine.is_healthy()
    await engine.close()


async def test_a_server_that_cannot_be_emptied_is_assumed_from_then(
    engine: HttpEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Only a vLLM for developers has the route."""
    await complete(engine, make_request())
    await engine.flush()
    assert await anext(engine.page_events()) == [AllPagesCleared()]
    assert "cannot be emptied" in caplog.text
    await complete(engine, make_request())
    assert any(isinstance(each, PagesStored) for each in await anext(engine.page_events()))


async def test_a_flush_as_a_real_server_answers_it(
    stub: VLLMStub, engine: HttpEngine, caplog: pytest.LogCaptureFixture
) -> None:
    said = cast("dict[str, str]", RECORDED["reset"])
    stub.scripted["/reset_prefix_cache"] = [
        response(200, body) for body in (b'{"success":false}', said["text"].encode(), b"")
    ]
    with pytest.raises(EngineUnavailable, match="cannot be emptied now"):
        await engine.flush()
    await engine.flush()
    await engine.flush()
    assert "assumed from now" not in caplog.text


async def test_advertised_events_are_followed(stub: VLLMStub, tmp_path: Path) -> None:
    async with KvEventsStub(tmp_path) as kv_events:
        stub.pages["/kv_event_sources"] = {
            "0": {
                "publisher": "zmq",
                "endpoint": kv_events.events_endpoint,
                "replay_endpoint": kv_events.replay_endpoint,
            }
        }
        engine = make_engine(stub.url)
        await engine.start()
        await kv_events.publish(stored(0, 2) | {"group_idx": 0, "extra_keys": [["t"], None]})
        events = await anext(engine.page_events())
        assert events == [AllPagesCleared(), PagesStored([0, 1], None, [*range(32)], "t")]
        await engine.close()


@pytest.mark.parametrize("sources", [{}, {"0": {}, "1": {}}, {"0": {"publisher": "null"}}])
async def test_a_server_without_events_of_its_one_cache_is_assumed(
    stub: VLLMStub, sources: Json, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stub.pages["/kv_event_sources"] = sources
    engine = make_engine(stub.url)
    await engine.start()
    await engine.close()
    assert "reports no KV events" in caplog.text


async def test_a_server_started_anew_has_lost_its_cache(stub: VLLMStub, engine: HttpEngine) -> None:
    await complete(engine, make_request())
    assert await anext(engine.page_events())
    stub.pages["/metrics"] = metrics(started_at_s=2.0)
    await engine.start()
    assert await anext(engine.page_events()) == [AllPagesCleared()]

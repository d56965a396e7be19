"""The adapter for a running SGLang, against a stand-in that speaks its dialect."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from engines import complete, make_http_engine
from kv_events_stub import CLEARED, KvEventsStub, removed, stored
from msgspec.structs import replace
from server_stub import Json, response, stream
from sglang_stub import SGLangStub, reply

from preble.clock import ManualClock
from preble.errors import ConfigError, EngineRefused, EngineUnavailable
from preble.messages import JobId, SamplingParams, pack_tokens
from preble_workers.engine import (
    AllPagesCleared,
    EngineInfo,
    EngineRequest,
    PageEvent,
    PagesStored,
)
from preble_workers.http_engine import HttpEngine

pytestmark = pytest.mark.anyio

ASSUMED = EngineInfo(slots=4, kv_capacity_tokens=320, page_size=16, context_length=512)
STOPPED = {"type": "stop", "matched": 2}
make_engine = partial(make_http_engine, assumed=ASSUMED)


@pytest.fixture
async def stub() -> AsyncIterator[SGLangStub]:
    async with SGLangStub() as stub:
        yield stub


@pytest.fixture
async def engine(stub: SGLangStub) -> AsyncIterator[HttpEngine]:
    engine = make_engine(stub.url)
    await engine.start()
    yield engine
    await engine.close()


def make_request(
    prompt_tokens: int = 40,
    *,
    sampling: SamplingParams | None = None,
    cache_salt: str = "",
) -> EngineRequest:
    prompt = pack_tokens(range(prompt_tokens))
    return EngineRequest(
        JobId("job-1"), prompt, sampling or SamplingParams(max_new_tokens=4), cache_salt
    )


async def progress_of(engine: HttpEngine) -> None:
    """Wait for progress of an engine with a call open."""
    before = engine.steps
    while engine.steps == before:  # noqa: ASYNC110  # a counter is all the protocol offers
        await asyncio.sleep(0)


async def started_with(
    *,
    server_info: Mapping[str, object] | None = None,
    model_info: Mapping[str, object] | None = None,
) -> EngineInfo:
    """What an engine says it takes, beside a server with these replies."""
    async with SGLangStub(server_info=server_info, model_info=model_info) as stub:
        engine = make_engine(stub.url)
        try:
            return await engine.start()
        finally:
            await engine.close()


async def test_it_takes_what_the_server_says() -> None:
    said = {"page_size": 32, "context_length": 100, "max_total_num_tokens": 999}
    info = await started_with(server_info=said | {"max_running_requests": 2})
    assert info == EngineInfo(slots=2, kv_capacity_tokens=999, page_size=32, context_length=100)


async def test_what_the_server_leaves_out_is_assumed() -> None:
    assert await started_with(server_info={"context_length": None, "page_size": "x"}) == ASSUMED


async def test_a_server_without_server_info_is_taken_as_configured() -> None:
    assert await started_with() == ASSUMED


async def test_the_configured_slots_bound_the_servers() -> None:
    info = await started_with(server_info={"max_running_requests": 512})
    assert info.slots == ASSUMED.slots


async def test_pages_that_do_not_divide_a_block_are_refused() -> None:
    with pytest.raises(ConfigError, match="page_size 48 does not divide"):
        await started_with(server_info={"page_size": 48})


async def test_a_server_without_a_radix_cache_holds_nothing() -> None:
    assert not (await started_with(server_info={"disable_radix_cache": True})).has_kv_cache


@pytest.mark.parametrize(
    ("loads", "is_warned_of"),
    [
        ({"loads": [{"num_running_reqs": 2, "num_waiting_reqs": 0, "more": 1}] * 2}, True),
        ({"loads": [{"num_running_reqs": 0, "num_waiting_reqs": 0}]}, False),
        ({"loads": "junk"}, False),
        (None, False),
    ],
)
async def test_requests_of_others_are_warned_of(
    stub: SGLangStub, caplog: pytest.LogCaptureFixture, loads: Json | None, *, is_warned_of: bool
) -> None:
    stub.pages["/v1/loads?include=core"] = loads
    engine = make_engine(stub.url)
    await engine.start()
    await engine.close()
    assert ("has 4 requests of others" in caplog.text) == is_warned_of


async def test_a_model_that_generates_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not generate"):
        await started_with(model_info={"is_generation": False})


async def test_a_server_that_is_no_engine_is_refused(stub: SGLangStub) -> None:
    stub.pages["/model_info"] = None
    engine = make_engine(stub.url)
    with pytest.raises(ConfigError, match=r"neither SGLang \(/model_info\) nor vLLM \(/version\)"):
        await engine.start()
    await engine.close()


async def test_a_server_that_cannot_be_reached_is_unavailable() -> None:
    async with SGLangStub() as stub:
        url = stub.url
    engine = make_engine(url)
    with pytest.raises(EngineUnavailable, match="no connection to the engine at " + re.escape(url)):
        await engine.start()
    await engine.close()


async def test_a_server_that_is_starting_is_waited_for(stub: SGLangStub) -> None:
    stub.scripted["/model_info"] = [response(503, b"")]
    clock = ManualClock()
    engine = HttpEngine(stub.url, assumed=ASSUMED, block_size=64, clock=clock)
    assert await engine.start() == ASSUMED
    await engine.close()


async def test_starting_again_asks_whether_the_server_is_back(
    stub: SGLangStub, engine: HttpEngine
) -> None:
    await complete(engine, make_request())
    assert await engine.start() == ASSUMED
    assert await anext(engine.page_events()), "what it holds is still known"
    stub.pages["/server_info"] = {"page_size": 32}
    with pytest.raises(ConfigError, match="another page_size 32"):
        await engine.start()


async def test_a_silent_server_makes_progress_while_it_is_healthy(stub: SGLangStub) -> None:
    engine = make_engine(stub.url, pulse_s=0.0)
    await engine.start()
    stub.go_on.clear()
    task = asyncio.create_task(complete(engine, make_request()))
    await stub.requests["/generate"].get()
    for _ in range(3):
        await progress_of(engine)
    task.cancel()
    await asyncio.wait({task})
    await engine.close()


async def test_a_silent_server_that_is_not_healthy_makes_none(stub: SGLangStub) -> None:
    stub.pages["/health_generate"] = None
    engine = make_engine(stub.url, pulse_s=0.0)
    await engine.start()
    stub.go_on.clear()
    task = asyncio.create_task(complete(engine, make_request()))
    await stub.requests["/generate"].get()
    await progress_of(engine)
    before = engine.steps
    for _ in range(3):
        await stub.requests["/health_generate"].get()
    assert engine.steps == before
    task.cancel()
    await asyncio.wait({task})
    await engine.close()


async def test_a_request_is_sent_whole(stub: SGLangStub, engine: HttpEngine) -> None:
    sampling = SamplingParams(
        max_new_tokens=2,
        temperature=0.5,
        top_p=0.9,
        top_k=7,
        min_p=0.1,
        frequency_penalty=0.2,
        presence_penalty=0.3,
        repetition_penalty=1.1,
        stop=("END",),
        ignore_eos=True,
    )
    await complete(engine, make_request(3, sampling=sampling, cache_salt="tenant"))
    body = await stub.requests["/generate"].get()
    assert str(body.pop("rid")).startswith("job-1-")
    assert body == {
        "input_ids": [0, 1, 2],
        "sampling_params": {
            "max_new_tokens": 2,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 7,
            "min_p": 0.1,
            "frequency_penalty": 0.2,
            "presence_penalty": 0.3,
            "repetition_penalty": 1.1,
            "stop": ["END"],
            "ignore_eos": True,
            "stream_interval": 32,
        },
        "stream": True,
        "cache_salt": "tenant",
    }


async def test_of_a_streamed_request_each_token_is_asked_for(
    stub: SGLangStub, engine: HttpEngine
) -> None:
    await complete(engine, replace(make_request(), is_streamed=True))
    sampling = (await stub.requests["/generate"].get())["sampling_params"]
    assert isinstance(sampling, dict)
    assert sampling["stream_interval"] == 1


async def test_what_each_event_adds_is_told(stub: SGLangStub, engine: HttpEngine) -> None:
    """The last one may lack the end of what was said before: a stop string was cut off."""
    told: list[tuple[Sequence[int], str | None]] = []
    texts = ["say", "say EN", "say"]
    answers = [
        {**reply([7] * number, cached_tokens=0, finish_reason=reason), "text": text}
        for number, (text, reason) in enumerate(
            zip(texts, [None, None, STOPPED], strict=True), start=1
        )
    ]
    stub.scripted["/generate"] = [stream(*answers)]
    request = replace(make_request(), is_streamed=True)
    completion = await engine.generate(request, lambda ids, text, _: told.append((ids, text)))
    assert told == [((7,), "say"), ((7,), " EN"), ((7,), "")]
    assert completion.text == "say"


async def test_a_job_that_runs_again_gets_another_id(stub: SGLangStub, engine: HttpEngine) -> None:
    """SGLang refuses an id that is still running, and an abort takes a moment."""
    await complete(engine, make_request())
    await complete(engine, make_request())
    assert (await stub.requests["/generate"].get())["rid"] != (
        await stub.requests["/generate"].get()
    )["rid"]


async def test_the_last_event_is_the_completion(stub: SGLangStub, engine: HttpEngine) -> None:
    events = [
        reply([5], cached_tokens=32, finish_reason=None),
        reply([5, 2], cached_tokens=32, finish_reason=STOPPED),
    ]
    stub.scripted["/generate"] = [stream(*events)]
    completion = await complete(engine, make_request())
    assert (completion.output_ids, completion.text) == ((5, 2), "5 2")
    assert (completion.finish_reason, completion.cached_tokens) == ("stop", 32)


async def test_a_finish_reason_may_be_a_string(stub: SGLangStub, engine: HttpEngine) -> None:
    stub.scripted["/generate"] = [stream(reply([5], cached_tokens=0, finish_reason="length"))]
    assert (await complete(engine, make_request())).finish_reason == "length"


async def test_text_may_hold_any_line_separator(stub: SGLangStub, engine: HttpEngine) -> None:
    event = reply([5], cached_tokens=0, finish_reason=STOPPED) | {"text": "a\u2028b\x85c\nd"}
    stub.scripted["/generate"] = [stream(event)]
    assert (await complete(engine, make_request())).text == "a\u2028b\x85c\nd"


async def test_ttft_is_the_time_to_the_first_event(stub: SGLangStub) -> None:
    clock = ManualClock()
    engine = HttpEngine(stub.url, assumed=ASSUMED, block_size=64, clock=clock)
    await engine.start()
    stub.go_on.clear()
    task = asyncio.create_task(complete(engine, make_request()))
    await stub.requests["/generate"].get()
    await progress_of(engine)
    clock.advance(5.0)
    stub.go_on.set()
    assert (await task).ttft_s == 0.0
    await engine.close()


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, b'{"error": {"message": "too long"}}', EngineRefused, "^too long$"),
        (400, b'{"error": "bad field"}', EngineRefused, "^bad field$"),
        (422, b'{"detail": []}', EngineRefused, '{"detail": '),
        (408, b"", EngineUnavailable, "408"),
        (429, b"", EngineUnavailable, "429"),
        (500, b"oops", EngineUnavailable, "500: oops"),
        (503, b'{"error": {"message": "full"}}', EngineUnavailable, "503: full"),
    ],
)
async def test_a_status_tells_refused_from_unavailable(
    stub: SGLangStub,
    engine: HttpEngine,
    *,
    status: int,
    body: bytes,
    kind: type[Exception],
    message: str,
) -> None:
    stub.scripted["/generate"] = [response(status, body)]
    with pytest.raises(kind, match=message):
        await complete(engine, make_request())


@pytest.mark.parametrize(
    ("event", "kind", "message"),
    [
        ({"error": {"message": "too long", "code": 400}}, EngineRefused, "too long"),
        ({"error": {"message": "crash", "code": 500}}, EngineUnavailable, "500: crash"),
        ({"error": "bad"}, EngineRefused, "bad"),
        (
            reply([5], cached_tokens=0, finish_reason={"type": "abort", "message": "Aborted"}),
            EngineUnavailable,
            "Aborted",
        ),
        (
            reply(
                [],
                cached_tokens=0,
                finish_reason={"type": "abort", "message": "no grammar", "status_code": 400},
            ),
            EngineRefused,
            "no grammar",
        ),
        (reply([5], cached_tokens=0, finish_reason=None), EngineUnavailable, "cut short"),
        ("nonsense", EngineUnavailable, "not SGLang's"),
    ],
)
async def test_a_stream_may_end_badly(
    stub: SGLangStub,
    engine: HttpEngine,
    *,
    event: Json | str,
    kind: type[Exception],
    message: str,
) -> None:
    stub.scripted["/generate"] = [stream(event)]
    with pytest.raises(kind, match=message):
        await complete(engine, make_request())


@pytest.mark.parametrize("cut", [0, 20, 200])
async def test_a_broken_connection_is_unavailable(
    stub: SGLangStub, engine: HttpEngine, cut: int
) -> None:
    stub.scripted["/generate"] = [stream(reply([5], cached_tokens=0, finish_reason=STOPPED))[:cut]]
    with pytest.raises(EngineUnavailable, match="no connection to the engine"):
        await complete(engine, make_request())


async def test_cancelling_aborts_in_the_server(stub: SGLangStub, engine: HttpEngine) -> None:
    stub.go_on.clear()
    task = asyncio.create_task(complete(engine, make_request()))
    sent = await stub.requests["/generate"].get()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert await stub.requests["/abort_request"].get() == {"rid": sent["rid"]}


async def test_closing_aborts_outstanding_calls(stub: SGLangStub, engine: HttpEngine) -> None:
    stub.go_on.clear()
    tasks = [asyncio.create_task(complete(engine, make_request())) for _ in range(3)]
    for _ in tasks:
        await stub.requests["/generate"].get()
    await engine.close()
    for task in tasks:
        with pytest.raises(EngineUnavailable, match="closed"):
            await task
    assert stub.requests["/abort_request"].qsize() == 3
    with pytest.raises(EngineUnavailable, match="closed"):
        await complete(engine, make_request())


@pytest.mark.parametrize(
    ("prompt_tokens", "cached"),
    [(61, [*range(61), 57, 58, 59]), (60, [*range(48)])],
)
async def test_a_completed_request_is_assumed_cached_but_for_its_last_token(
    engine: HttpEngine, prompt_tokens: int, cached: list[int]
) -> None:
    """With 4 tokens of output, 64 are computed of the one, and 63 of the other: 4 and 3 pages."""
    await complete(engine, make_request(prompt_tokens))
    assert await stored_ids(engine) == cached


async def stored_ids(engine: HttpEngine) -> list[int]:
    """Tokens of the pages that are told of first."""
    events = [each for each in await anext(engine.page_events()) if isinstance(each, PagesStored)]
    return [token for event in events for token in event.token_ids]


async def test_with_its_first_token_a_prompt_is_assumed_cached(
    stub: SGLangStub, engine: HttpEngine
) -> None:
    """Else it would count as a prefill under way for as long as its output takes."""
    stub.go_on.clear()
    first = asyncio.Event()
    request = make_request(61)
    running = asyncio.create_task(engine.generate(request, lambda ids, text, logprobs: first.set()))  # noqa: ARG005  # when is asked, not what
    await first.wait()
    assert await stored_ids(engine) == [*range(48)]
    stub.go_on.set()
    await running


async def test_a_failed_request_is_not_assumed_cached(stub: SGLangStub, engine: HttpEngine) -> None:
    stub.scripted["/generate"] = [response(500, b"")]
    with pytest.raises(EngineUnavailable):
        await complete(engine, make_request(61))
    await engine.close()
    assert [event async for batch in engine.page_events() for event in batch] == []


async def test_what_exceeds_the_assumed_capacity_is_left_out(engine: HttpEngine) -> None:
    await complete(engine, make_request(400))
    await complete(engine, make_request(17))
    (event,) = await anext(engine.page_events())
    assert isinstance(event, PagesStored)
    assert len(event.page_hashes) == 1


@pytest.mark.parametrize("call", ["generate", "start"])
async def test_a_server_that_refuses_connections_has_lost_its_cache(call: str) -> None:
    async with SGLangStub() as stub:
        engine = make_engine(stub.url)
        await engine.start()
        await complete(engine, make_request())
    with pytest.raises(EngineUnavailable, match="no connection"):
        await (engine.start() if call == "start" else complete(engine, make_request()))
    assert (await anext(engine.page_events()))[-1] == AllPagesCleared()
    await engine.close()


@pytest.fixture
async def kv_events(tmp_path: Path, stub: SGLangStub) -> AsyncIterator[KvEventsStub]:
    """The events of the server, which advertises them."""
    async with KvEventsStub(tmp_path) as kv_events:
        stub.pages["/server_info"] = info_of(kv_events, random_seed=1)
        yield kv_events


def info_of(kv_events: KvEventsStub, *, random_seed: int) -> Json:
    config = {
        "publisher": "zmq",
        "endpoint": kv_events.events_endpoint,
        "replay_endpoint": kv_events.replay_endpoint,
    }
    return {"kv_events_config": json.dumps(config), "dp_size": 1, "random_seed": random_seed}


async def events_of(engine: HttpEngine, count: int) -> list[PageEvent]:
    """The next events, however they come together."""
    events: list[PageEvent] = []
    reader = engine.page_events()
    async with asyncio.timeout(20):
        while len(events) < count:
            events += await anext(reader)
    await reader.aclose()
    return events


def page(number: int) -> PagesStored:
    tokens = [*range(number * 16, (number + 1) * 16)]
    return PagesStored([number], number - 1 if number else None, tokens)


async def test_advertised_events_are_followed(kv_events: KvEventsStub, engine: HttpEngine) -> None:
    """And what the server does not say is not assumed beside."""
    await kv_events.publish(stored(0, 1))
    await complete(engine, make_request(200))
    assert await events_of(engine, 2) == [AllPagesCleared(), page(0)]
    reading = asyncio.create_task(events_of(engine, 1))
    await kv_events.is_followed()
    await kv_events.publish(stored(1, 2))
    assert await reading == [page(1)]


async def test_the_same_server_goes_on_where_it_was(
    kv_events: KvEventsStub, engine: HttpEngine
) -> None:
    await kv_events.publish(stored(0, 1))
    await events_of(engine, 2)
    assert await engine.start() == ASSUMED
    reading = asyncio.create_task(events_of(engine, 1))
    await kv_events.is_followed()
    await kv_events.publish(stored(1, 2))
    assert await reading == [page(1)]


async def test_a_new_server_is_followed_from_its_first_event(
    stub: SGLangStub, kv_events: KvEventsStub, engine: HttpEngine
) -> None:
    await kv_events.publish(stored(0, 1))
    await events_of(engine, 2)
    await kv_events.restart()
    stub.pages["/server_info"] = info_of(kv_events, random_seed=2)
    await kv_events.publish(stored(7, 8))
    assert await engine.start() == ASSUMED
    assert await events_of(engine, 2) == [AllPagesCleared(), page(7)]


async def test_a_flush_drops_what_the_server_said_before_it(
    stub: SGLangStub, kv_events: KvEventsStub, engine: HttpEngine
) -> None:
    stub.pages["/flush_cache"] = {}
    await events_of(engine, 1)
    await engine.flush()
    await stub.requests["/flush_cache"].get()
    await kv_events.publish(stored(0, 1))
    await kv_events.publish(CLEARED)
    await kv_events.publish(stored(5, 6))
    reading = asyncio.create_task(events_of(engine, 2))
    await kv_events.is_followed()
    await kv_events.publish(removed(5))
    assert await reading == [AllPagesCleared(), page(5)]


async def test_a_kv_event_is_progress(kv_events: KvEventsStub, engine: HttpEngine) -> None:
    await events_of(engine, 1)
    reading = asyncio.create_task(events_of(engine, 1))
    await kv_events.is_followed()
    before = vars(engine)["_steps"]
    await kv_events.publish(stored(0, 1))
    await reading
    assert vars(engine)["_steps"] > before


async def test_a_server_that_cannot_be_flushed_now_says_why(
    stub: SGLangStub, engine: HttpEngine
) -> None:
    stub.scripted["/flush_cache"] = [response(400, b"requests are running")]
    with pytest.raises(EngineUnavailable, match="requests are running"):
        await engine.flush()


async def test_a_flush_clears_what_was_assumed(stub: SGLangStub, engine: HttpEngine) -> None:
    stub.pages["/flush_cache"] = {}
    await complete(engine, make_request())
    await events_of(engine, 1)
    await engine.flush()
    assert await events_of(engine, 1) == [AllPagesCleared()]

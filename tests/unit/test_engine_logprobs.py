"""Logprobs and seeds in the words of SGLang and vLLM: what is sent, read and refused."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from engines import Told, complete, make_http_engine
from msgspec.structs import replace
from server_stub import CHOSEN_LOGPROB, Json, ServerStub, likely_tokens, stream
from sglang_stub import SGLangStub, reply
from vllm_stub import VLLMStub, step, usage

from preble.errors import EngineRefused, EngineUnavailable
from preble.messages import JobId, SamplingParams, TokenLogprob, pack_tokens
from preble_workers.engine import Completion, EngineInfo, EngineRequest
from preble_workers.http_engine import HttpEngine

pytestmark = pytest.mark.anyio

INFO = EngineInfo(slots=4, kv_capacity_tokens=640, page_size=16, context_length=512)
ENDED = {"type": "length"}


@asynccontextmanager
async def speaking(stub: ServerStub) -> AsyncGenerator[HttpEngine]:
    async with stub:
        engine = make_http_engine(stub.url, assumed=INFO)
        await engine.start()
        yield engine
        await engine.close()


def request(
    *, logprobs: int | None = None, seed: int | None = None, temperature: float = 1.0
) -> EngineRequest:
    sampling = SamplingParams(
        max_new_tokens=2, logprobs=logprobs, seed=seed, temperature=temperature
    )
    return EngineRequest(JobId("j"), pack_tokens(range(40)), sampling, "")


def seeded_sglang() -> SGLangStub:
    return SGLangStub(server_info={"enable_deterministic_inference": True})


async def answered(
    stub: ServerStub, *events: Json, logprobs: int, is_streamed: bool = False
) -> Completion:
    """What an engine makes of such events."""
    async with speaking(stub) as engine:
        stub.scripted[stub.generate_path] = [stream(*events)]
        asked = replace(request(logprobs=logprobs), is_streamed=is_streamed)
        return await complete(engine, asked)


@pytest.mark.parametrize("num_top", [0, 3])
async def test_sglang_is_asked_for_those_of_the_output_alone(num_top: int) -> None:
    stub = seeded_sglang()
    async with speaking(stub) as engine:
        completion = await complete(engine, request(logprobs=num_top, seed=7))
        body = await stub.requests["/generate"].get()
    told = [body[name] for name in ("return_logprob", "top_logprobs_num", "logprob_start_len")]
    assert told == [True, num_top, -1]
    sampling = cast("Json", body["sampling_params"])
    assert sampling["sampling_seed"] == 7
    assert not {"seed", "logprobs"} & sampling.keys(), "SGLang knows no such parameter"
    assert completion.logprobs == tuple(
        TokenLogprob(CHOSEN_LOGPROB, tuple(likely_tokens(each, num_top)))
        for each in completion.output_ids
    )


@pytest.mark.parametrize("num_top", [0, 3])
async def test_vllm_is_asked_for_them_by_id(num_top: int) -> None:
    """And the chosen token, which it tells beside the likeliest, is not taken for one of them."""
    stub = VLLMStub()
    async with speaking(stub) as engine:
        completion = await complete(engine, request(logprobs=num_top, seed=7))
        body = await stub.requests["/v1/completions"].get()
    told = [body[name] for name in ("logprobs", "return_tokens_as_token_ids", "seed")]
    assert told == [num_top, True, 7]
    assert completion.logprobs == tuple(
        TokenLogprob(CHOSEN_LOGPROB, tuple(likely_tokens(each, num_top)))
        for each in completion.output_ids
    )


async def test_of_vllm_a_chosen_token_may_be_among_the_likeliest() -> None:
    told = step([5], finish_reason="length")
    cast("list[Json]", told["choices"])[0]["logprobs"] = {
        "token_logprobs": [-1.0], "top_logprobs": [{"token_id:5": -1.0, "token_id:6": -0.5}],
    }  # fmt: skip
    completion = await answered(VLLMStub(), told, usage(0), logprobs=2)
    assert completion.logprobs == (TokenLogprob(-1.0, ((6, -0.5), (5, -1.0))),)


@pytest.mark.parametrize("value", ["null", "-3.4028235e38"])
async def test_an_impossible_token_has_the_least_logprob(value: str) -> None:
    """JSON knows no infinity, and SGLang writes the least float of its own."""
    logprob = json.loads(value)
    told = reply([5], cached_tokens=0, finish_reason=ENDED)
    cast("Json", told["meta_info"]).update(
        output_token_logprobs=[[logprob, 5, None]],
        output_top_logprobs=[[[-0.5, 6, None], [logprob, 7, None]]],
    )
    by_sglang = await answered(SGLangStub(), told, logprobs=2)
    told = step([5], finish_reason="length")
    cast("list[Json]", told["choices"])[0]["logprobs"] = {
        "token_logprobs": [logprob], "top_logprobs": [{"token_id:7": logprob, "token_id:6": -0.5}],
    }  # fmt: skip
    by_vllm = await answered(VLLMStub(), told, usage(0), logprobs=2)
    expected = TokenLogprob(-9999.0, ((6, -0.5), (7, -9999.0)))
    assert by_sglang.logprobs == by_vllm.logprobs == (expected,)


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_an_engine_that_tells_too_few_refuses_the_request(*, is_streamed: bool) -> None:
    """It would tell too few again: the job must not be tried for ever, nor the engine be lost."""
    silent = reply([5, 6], cached_tokens=0, finish_reason=ENDED)
    few = reply([5, 6], cached_tokens=0, finish_reason=ENDED, num_top=2)
    cast("Json", few["meta_info"])["output_top_logprobs"] = [[[-0.5, 6, None]]]
    for told in (silent, few):
        with pytest.raises(EngineRefused, match="logprobs of 2 tokens"):
            await answered(SGLangStub(), told, logprobs=2, is_streamed=is_streamed)
    told = step([5, 6], finish_reason="length")
    with pytest.raises(EngineRefused, match="0 logprobs of 2 tokens"):
        await answered(VLLMStub(), told, usage(0), logprobs=2, is_streamed=is_streamed)


async def test_an_aborted_request_without_logprobs_may_run_again() -> None:
    told = reply([5], cached_tokens=0, finish_reason={"type": "abort", "message": "Aborted"})
    with pytest.raises(EngineUnavailable, match="Aborted"):
        await answered(SGLangStub(), told, logprobs=0)


async def test_a_vllm_that_names_tokens_by_their_text_refuses_likely_ones() -> None:
    told = step([5], finish_reason="length")
    cast("list[Json]", told["choices"])[0]["logprobs"] = {
        "token_logprobs": [-1.0], "top_logprobs": [{" a": -1.0}],
    }  # fmt: skip
    with pytest.raises(EngineRefused, match="return_tokens_as_token_ids"):
        await answered(VLLMStub(), told, usage(0), logprobs=1)
    assert (await answered(VLLMStub(), told, usage(0), logprobs=0)).logprobs == (
        TokenLogprob(-1.0),
    )


@pytest.mark.parametrize("info", [{}, {"enable_deterministic_inference": False}])
async def test_an_sglang_that_would_ignore_a_seed_is_not_asked(info: Json) -> None:
    stub = SGLangStub(server_info=info)
    async with speaking(stub) as engine:
        with pytest.raises(EngineRefused, match="start it with --enable-deterministic-inference"):
            await complete(engine, request(seed=7))
        assert stub.requests["/generate"].empty()
        await complete(engine, request())
        await complete(engine, request(seed=7, temperature=0))


async def test_an_sglang_is_not_asked_for_more_than_any_vocabulary_has() -> None:
    """It would end, and with it all that runs beside."""
    stub = SGLangStub()
    async with speaking(stub) as engine:
        with pytest.raises(EngineRefused, match="at most 256 likely tokens"):
            await complete(engine, request(logprobs=257))
        assert len((await complete(engine, request(logprobs=256))).logprobs[0].top) == 256


async def test_each_delta_has_what_its_event_added() -> None:
    """SGLang's events repeat all before them, vLLM's do not."""
    for stub in (SGLangStub(), VLLMStub()):
        told = Told()
        async with speaking(stub) as engine:
            asked = replace(request(logprobs=1), is_streamed=True)
            completion = await engine.generate(asked, told)
        assert len(told.texts) == 2
        assert tuple(told.logprobs) == completion.logprobs

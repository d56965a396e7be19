"""What OpenAI's routes take and refuse, and the jobs that they make of it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx2
import msgspec
import pytest
from api_support import OneWorker

from preble.broker.memory import MemoryBroker
from preble.messages import SamplingParams, WaitingJob, pack_tokens
from preble.tokenizer import Tokenizer
from preble_api.openai.chat import DEFAULT_OUTPUT_TOKENS
from preble_api.openai.completions import MOST_PROMPTS

pytestmark = pytest.mark.anyio

MODEL = "preble-emulated"
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
HELLO = [{"role": "user", "content": "hello"}]
NOW = {"Prefer": "respond-async"}

MINIMAL: Mapping[str, dict[str, Any]] = {
    CHAT: {"model": MODEL, "messages": HELLO, "max_tokens": 4},
    COMPLETIONS: {"model": MODEL, "prompt": "hello"},
    RESPONSES: {"model": MODEL, "input": "hello", "max_output_tokens": 4},
}


async def jobs_of(
    client: httpx2.AsyncClient, broker: MemoryBroker, path: str, **more: object
) -> list[WaitingJob]:
    """The jobs that a request was made into."""
    reply = await client.post(path, json=MINIMAL[path] | more, headers=NOW)
    assert reply.status_code == 202, reply.text
    return await broker.peek(1_000)


async def prompt_of(
    client: httpx2.AsyncClient, broker: MemoryBroker, path: str, **more: object
) -> bytes:
    """The tokens that an engine gets."""
    await jobs_of(client, broker, path, **more)
    worker = OneWorker(broker)
    await worker.assign_all()
    [claim] = await worker.run_all()
    return claim.prompt


@pytest.mark.parametrize("path", MINIMAL)
async def test_sampling_reaches_the_job(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, path: str
) -> None:
    given = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "repetition_penalty": 1.1}
    [job] = await jobs_of(client, memory_broker, path, **given, ignore_eos=True)
    new_tokens = 16 if path == COMPLETIONS else 4
    assert job.spec.sampling == SamplingParams(
        max_new_tokens=new_tokens, temperature=0.5, top_p=0.9, top_k=7, min_p=0.1,
        repetition_penalty=1.1, ignore_eos=True,
    )  # fmt: skip


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_penalties_and_stops_reach_the_job(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, path: str
) -> None:
    given = {"frequency_penalty": 1.5, "presence_penalty": -1, "stop": ["a", "b"], "max_tokens": 9}
    [job] = await jobs_of(client, memory_broker, path, **given)
    sampling = job.spec.sampling
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (1.5, -1.0)
    assert (sampling.stop, sampling.max_new_tokens) == (("a", "b"), 9)


@pytest.mark.parametrize("path", MINIMAL)
async def test_queue_fields_reach_the_job(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, path: str
) -> None:
    given = {"priority": "batch", "tenant": "acme", "deadline_s": 90, "cache_salt": "salt"}
    [job] = await jobs_of(client, memory_broker, path, **given)
    spec = job.spec
    assert (spec.priority, spec.tenant, spec.deadline_s) == ("batch", "acme", 90)
    assert spec.cache_salt == "salt"


@pytest.mark.parametrize(
    ("path", "more", "logprobs"),
    [
        (CHAT, {"logprobs": True}, 0), (CHAT, {"logprobs": True, "top_logprobs": 3}, 3),
        (CHAT, {"logprobs": False, "top_logprobs": 0}, None), (COMPLETIONS, {"logprobs": 0}, 0),
        (COMPLETIONS, {"logprobs": 5}, 5), (COMPLETIONS, {}, None),
        (RESPONSES, {"include": ["message.output_text.logprobs"]}, 0),
        (RESPONSES, {"include": ["message.output_text.logprobs"], "top_logprobs": 20}, 20),
        (RESPONSES, {"include": [], "top_logprobs": 0}, None),
    ],
)  # fmt: skip
async def test_logprobs_reach_the_job(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, path: str, more: dict[str, Any],
    logprobs: int | None,
) -> None:  # fmt: skip
    [job] = await jobs_of(client, memory_broker, path, **more)
    assert job.spec.sampling.logprobs == logprobs


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_seed_reaches_the_job(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, path: str
) -> None:
    [job] = await jobs_of(client, memory_broker, path, seed=-(2**63))
    assert job.spec.sampling.seed == -(2**63)


@pytest.mark.parametrize(
    ("path", "field"), [(CHAT, "max_tokens"), (RESPONSES, "max_output_tokens")]
)
async def test_without_a_limit_an_output_may_fill_what_the_prompt_leaves(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, path: str, field: str
) -> None:
    [job] = await jobs_of(client, memory_broker, path, **{field: None})
    assert job.spec.total_tokens == 256, "the context of these tests"
    assert job.spec.sampling.max_new_tokens < DEFAULT_OUTPUT_TOKENS


async def test_a_limit_that_does_not_fit_is_refused_in_openais_words(
    client: httpx2.AsyncClient,
) -> None:
    reply = await client.post(CHAT, json=MINIMAL[CHAT] | {"max_tokens": 300})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "context_length_exceeded"
    assert reply.json()["error"]["param"] == "messages"


async def test_parts_of_a_message_are_joined_by_newlines(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, tokenizer: Tokenizer
) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    prompt = await prompt_of(
        client, memory_broker, CHAT, messages=[{"role": "developer", "content": parts}]
    )
    chat = tokenizer.render_chat([{"role": "system", "content": "one\ntwo"}])
    assert prompt == pack_tokens(tokenizer.encode([chat], add_special_tokens=False)[0])


async def test_an_answer_may_be_sent_back_as_it_came(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, tokenizer: Tokenizer
) -> None:
    """With all the fields that OpenAI's client keeps of it."""
    answer: dict[str, Any] = {
        "role": "assistant", "content": "hi", "refusal": None, "annotations": [], "audio": None,
        "function_call": None, "tool_calls": None,
    }  # fmt: skip
    told = {"token": "hi", "bytes": [104, 105], "logprob": -0.5, "top_logprobs": []}
    item: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": [told]}],
    }  # fmt: skip
    turns = [*HELLO, {"role": "assistant", "content": "hi"}, *HELLO]
    rendered = tokenizer.render_chat([dict(turn) for turn in turns])
    expected = pack_tokens(tokenizer.encode([rendered], add_special_tokens=False)[0])
    broker = memory_broker
    assert await prompt_of(client, broker, CHAT, messages=[*HELLO, answer, *HELLO]) == expected
    reply = await client.post(
        RESPONSES, json=MINIMAL[RESPONSES] | {"input": [*HELLO, item, *HELLO]}, headers=NOW
    )
    assert reply.status_code == 202, reply.text
    [job] = await broker.peek(10)
    assert job.spec.prompt_tokens == len(expected) // 4


async def test_instructions_come_first(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, tokenizer: Tokenizer
) -> None:
    prompt = await prompt_of(client, memory_broker, RESPONSES, instructions="be brief")
    turns = [{"role": "system", "content": "be brief"}, *HELLO]
    chat = tokenizer.render_chat(turns)
    assert prompt == pack_tokens(tokenizer.encode([chat], add_special_tokens=False)[0])


@pytest.mark.parametrize(
    ("prompt", "number"),
    [("a", 1), ([5, 6], 1), (["a", "b"], 2), ([[5, 6], [7]], 2), (["a"] * MOST_PROMPTS, 128)],
)
async def test_each_prompt_of_a_completion_is_a_job(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, prompt: object, number: int
) -> None:
    assert len(await jobs_of(client, memory_broker, COMPLETIONS, prompt=prompt)) == number


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ([], "prompt"), ("", "prompt"), ([["a"]], "prompt"), (["a", 5], "prompt"),
        ([[5], "a"], "prompt"), ([[5], []], "prompt"), (["a"] * 129, "prompt"), (None, "prompt"),
        ([5, 16_384], "prompt[1]"), ([[5], [16_384]], "prompt[1][0]"),
        (["a", "word " * 300], "prompt[1]"), ({}, "prompt"),
    ],
)  # fmt: skip
async def test_wrong_prompts_are_named_and_none_is_admitted(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, prompt: object, named: str
) -> None:
    reply = await client.post(COMPLETIONS, json=MINIMAL[COMPLETIONS] | {"prompt": prompt})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["param"].startswith(named), error
    assert (await memory_broker.counts.stats()).waiting == 0


NEUTRAL: Mapping[str, dict[str, Any]] = {
    CHAT: {
        "n": 1, "logprobs": False, "top_logprobs": 0, "logit_bias": {}, "tools": [], "seed": None,
        "tool_choice": "auto", "parallel_tool_calls": True, "response_format": {"type": "text"},
        "modalities": ["text"], "service_tier": "auto", "store": True, "user": "u",
        "metadata": {"a": "b"}, "safety_identifier": "s", "prompt_cache_key": "k",
        "prompt_cache_retention": "in_memory", "verbosity": "medium", "reasoning_effort": None,
        "stream": False, "stream_options": None, "max_completion_tokens": 4,
    },
    COMPLETIONS: {
        "n": 1, "best_of": 1, "echo": False, "suffix": None, "logprobs": None, "logit_bias": {},
        "seed": None, "user": "u", "stream": False,
    },
    RESPONSES: {
        "tools": [], "tool_choice": "auto", "parallel_tool_calls": False, "include": [],
        "text": {"format": {"type": "text"}}, "truncation": "disabled", "reasoning": None,
        "previous_response_id": None, "store": True, "background": False, "metadata": {},
        "service_tier": "default", "top_logprobs": 0, "max_tool_calls": None,
    },
}  # fmt: skip


BENCHMARKS: list[dict[str, Any]] = [
    {
        "model": MODEL, "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
        "max_completion_tokens": 4, "stop": None, "ignore_eos": True, "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    },
    {
        "model": MODEL, "messages": [{"role": "user", "content": "a", "name": None}],
        "max_completion_tokens": 4, "stream": True, "stream_options": {"include_usage": True},
    },
]  # fmt: skip
"""As guidellm and aiperf send them."""


@pytest.mark.parametrize("body", BENCHMARKS)
async def test_bodies_of_benchmarks_are_taken(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, body: dict[str, Any]
) -> None:
    asked = asyncio.ensure_future(client.post(CHAT, json=body))
    worker = OneWorker(memory_broker)
    async with asyncio.timeout(20):
        while not await memory_broker.peek(10):  # noqa: ASYNC110  # see support.eventually
            await asyncio.sleep(0)
        await worker.assign_all()
        await worker.run_all()
        await worker.complete_all()
        reply = await asked
    assert reply.status_code == 200
    assert '"content":"answer"' in reply.text
    assert '"cached_tokens":4' in reply.text


@pytest.mark.parametrize("path", MINIMAL)
async def test_what_changes_nothing_may_be_sent(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, path: str
) -> None:
    assert len(await jobs_of(client, memory_broker, path, **NEUTRAL[path])) == 1


UNSUPPORTED: list[tuple[str, dict[str, Any], str]] = [
    (CHAT, {"n": 2}, "n"),
    (CHAT, {"n": 0}, "n"),
    (CHAT, {"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    (CHAT, {"tool_choice": "required"}, "tool_choice"),
    (CHAT, {"response_format": {"type": "json_object"}}, "response_format"),
    (CHAT, {"response_format": {"type": "text", "x": "y" * 99}}, "response_format"),
    (CHAT, {"audio": {"voice": "a", "format": "mp3"}}, "audio"),
    (CHAT, {"modalities": ["text", "audio"]}, "modalities"),
    (CHAT, {"logit_bias": {"5": 1}}, "logit_bias"),
    (CHAT, {"service_tier": "flex"}, "service_tier"),
    (CHAT, {"reasoning_effort": "high"}, "reasoning_effort"),
    (CHAT, {"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    (CHAT, {"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages[0].name"),
    (
        CHAT,
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[0].type",
    ),
    (COMPLETIONS, {"best_of": 3}, "best_of"),
    (COMPLETIONS, {"echo": True}, "echo"),
    (COMPLETIONS, {"suffix": "x"}, "suffix"),
    (RESPONSES, {"previous_response_id": "resp_1"}, "previous_response_id"),
    (RESPONSES, {"conversation": "conv_1"}, "conversation"),
    (RESPONSES, {"tools": [{"type": "web_search"}]}, "tools"),
    (RESPONSES, {"include": ["reasoning.encrypted_content"]}, "include"),
    (RESPONSES, {"seed": 1}, "seed"),
    (RESPONSES, {"text": {"format": {"type": "json_schema"}}}, "text"),
    (RESPONSES, {"truncation": "auto"}, "truncation"),
    (RESPONSES, {"input": [{"type": "function_call_output", "role": "user"}]}, "input[0].type"),
]


@pytest.mark.parametrize(("path", "more", "named"), UNSUPPORTED)
async def test_what_is_not_offered_is_refused_by_name(
    client: httpx2.AsyncClient,
    memory_broker: MemoryBroker,
    path: str,
    more: dict[str, object],
    named: str,
) -> None:
    reply = await client.post(path, json=MINIMAL[path] | more)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", named)
    assert error["message"].startswith(named)
    assert (await memory_broker.counts.stats()).waiting == 0


WRONG: list[tuple[str, dict[str, Any], str]] = [
    (CHAT, {"messages": []}, "messages"),
    (CHAT, {"messages": [{"role": "user"}]}, "messages[0].content"),
    (CHAT, {"messages": [{"content": "x"}]}, "messages[0].role"),
    (CHAT, {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    (CHAT, {"temperature": 2.5}, "temperature"),
    (CHAT, {"top_k": 0}, "top_k"),
    (CHAT, {"max_tokens": 0}, "max_tokens"),
    (CHAT, {"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
    (CHAT, {"stream_options": {"x": 1}}, "stream_options.x"),
    (CHAT, {"metadata": {"a" * 65: "b"}}, "metadata"),
    (CHAT, {"top_logprobs": 1}, "top_logprobs"),
    (CHAT, {"logprobs": False, "top_logprobs": 1}, "top_logprobs"),
    (CHAT, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    (CHAT, {"logprobs": 1}, "logprobs"),
    (CHAT, {"seed": 2**63}, "seed"),
    (COMPLETIONS, {"logprobs": 6}, "logprobs"),
    (COMPLETIONS, {"logprobs": True}, "logprobs"),
    (CHAT, {"nonsense": 1}, "nonsense"),
    (CHAT, {"priority": "urgent"}, "priority"),
    (CHAT, {"tenant": "a b"}, "tenant"),
    (COMPLETIONS, {"nonsense": 1}, "nonsense"),
    (RESPONSES, {"nonsense": 1}, "nonsense"),
    (RESPONSES, {"top_logprobs": 1}, "top_logprobs"),
    (RESPONSES, {"include": ["message.output_text.logprobs"], "top_logprobs": 21}, "top_logprobs"),
    (RESPONSES, {"include": "message.output_text.logprobs"}, "include"),
    (RESPONSES, {"input": ""}, "input"),
    (RESPONSES, {"background": True, "store": False}, "store"),
    (RESPONSES, {"input": [{"role": "user", "content": "x" * 9_000}]}, "input"),
]


@pytest.mark.parametrize(("path", "more", "named"), WRONG)
async def test_wrong_fields_are_named(
    client: httpx2.AsyncClient,
    memory_broker: MemoryBroker,
    path: str,
    more: dict[str, object],
    named: str,
) -> None:
    reply = await client.post(path, json=MINIMAL[path] | more)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["param"].startswith(named), error
    assert error["type"] == "invalid_request_error"
    assert (await memory_broker.counts.stats()).waiting == 0


@pytest.mark.parametrize("path", MINIMAL)
@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'{"tools": ' + b"[" * 100_000])
async def test_what_is_no_request_is_a_400(
    client: httpx2.AsyncClient, path: str, body: bytes
) -> None:
    headers = {"content-type": "application/json"}
    assert (await client.post(path, content=body, headers=headers)).status_code == 400


@pytest.mark.parametrize("path", MINIMAL)
@pytest.mark.parametrize("value", [b"1e999", b'"\xff"', b'"\\ud800"'])
async def test_what_is_not_offered_need_not_be_readable(
    client: httpx2.AsyncClient, path: str, value: bytes
) -> None:
    body = msgspec.json.encode(MINIMAL[path]).removesuffix(b"}") + b',"moderation":' + value + b"}"
    reply = await client.post(path, content=body, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("path", MINIMAL)
async def test_another_model_is_not_found(client: httpx2.AsyncClient, path: str) -> None:
    reply = await client.post(path, json=MINIMAL[path] | {"model": "other"})
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "model_not_found"
    assert reply.json()["error"]["param"] == "model"

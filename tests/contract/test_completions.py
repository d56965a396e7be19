"""Chats and completions with OpenAI's own client; the engine repeats the end of its prompt."""

import re
from collections.abc import Iterable
from uuid import uuid4

import openai
import pytest
from openai.types.chat import (
    ChatCompletionChunk,
    ChatCompletionContentPartTextParam,
    ChatCompletionMessageParam,
)
from processes import Stack

pytestmark = pytest.mark.process

MODEL = "preble-emulated"


def hello() -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": "Hello there, my old friend"}]


def long_text() -> str:
    """Some 400 tokens that no other prompt begins with."""
    return f"{uuid4().hex} " + "The cat sat on the mat and thought. " * 40


def text_of(chunks: Iterable[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_chat_is_answered(client: openai.OpenAI, pool: Stack) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=hello(), max_completion_tokens=12
    )
    job = pool.job(raw.headers["x-preble-job"])
    answer = raw.parse()
    [choice] = answer.choices
    assert (choice.finish_reason, choice.message.role) == ("length", "assistant")
    assert answer.object == "chat.completion"
    assert job["status"] == "completed"
    assert job["result"]["text"] == choice.message.content  # type: ignore[index]  # JSON
    assert answer.usage
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == 12 + answer.usage.prompt_tokens


def test_cached_tokens_are_told(client: openai.OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": long_text()}]
    usages = [
        client.chat.completions.create(model=MODEL, messages=messages, max_tokens=2).usage
        for _ in range(2)
    ]
    prompt_tokens = {usage.prompt_tokens for usage in usages if usage}.pop()
    details = [usage.prompt_tokens_details for usage in usages if usage]
    computed, reused = (each.cached_tokens or 0 for each in details if each)
    assert computed == 0
    assert prompt_tokens - 32 <= reused < prompt_tokens


def test_a_streamed_chat_is_the_same_chat(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=hello(), max_tokens=40)
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=hello(), max_tokens=40, stream=True)
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert text_of(chunks) == whole.choices[0].message.content
    assert len(chunks) > 3, "as it is made, not all at the end"
    assert all(chunk.usage is None for chunk in chunks)
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1


def test_a_stream_ends_with_the_usage_if_asked(client: openai.OpenAI) -> None:
    *chunks, last = client.chat.completions.create(
        model=MODEL, messages=hello(), max_tokens=5, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    assert last.choices == []
    assert last.usage
    assert last.usage.completion_tokens == 5
    assert last.usage.prompt_tokens_details
    assert all(chunk.usage is None for chunk in chunks)


def test_running_usage_grows(client: openai.OpenAI) -> None:
    """As vLLM's clients ask for it."""
    chunks = client.chat.completions.create(
        model=MODEL, messages=hello(), max_tokens=30, stream=True,
        extra_body={"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    )  # fmt: skip
    told = [chunk.usage.completion_tokens for chunk in chunks if chunk.usage]
    assert told == sorted(told)
    assert (told[0], told[-1]) == (told[0], 30)
    assert len(set(told)) > 2


def test_the_clients_own_helper_reads_the_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=hello(), max_tokens=9) as stream:
        texts = [event.delta for event in stream if event.type == "content.delta"]
        answer = stream.current_completion_snapshot
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content == "".join(texts)


def test_parts_of_a_message_are_its_lines(client: openai.OpenAI) -> None:
    def answer(turn: ChatCompletionMessageParam) -> str | None:
        made = client.chat.completions.create(model=MODEL, messages=[turn], max_tokens=20)
        return made.choices[0].message.content

    parts: list[ChatCompletionContentPartTextParam] = [
        {"type": "text", "text": "one"}, {"type": "text", "text": "two"},
    ]  # fmt: skip
    text = answer({"role": "user", "content": "one\ntwo"})
    assert answer({"role": "user", "content": parts}) == text


@pytest.mark.anyio
async def test_chats_are_answered_asynchronously(async_client: openai.AsyncOpenAI) -> None:
    whole = await async_client.chat.completions.create(model=MODEL, messages=hello(), max_tokens=15)
    stream = await async_client.chat.completions.create(
        model=MODEL, messages=hello(), max_tokens=15, stream=True
    )
    assert text_of([chunk async for chunk in stream]) == whole.choices[0].message.content


def test_completions_come_in_the_order_of_their_prompts(client: openai.OpenAI) -> None:
    prompts = ["The first prompt of two", "The second prompt of two"]
    raw = client.completions.with_raw_response.create(model=MODEL, prompt=prompts, max_tokens=6)
    answer = raw.parse()
    assert [choice.index for choice in answer.choices] == [0, 1]
    alone = [client.completions.create(model=MODEL, prompt=each, max_tokens=6) for each in prompts]
    assert [c.text for c in answer.choices] == [each.choices[0].text for each in alone]
    assert answer.usage
    assert answer.usage.completion_tokens == 12
    assert answer.usage.prompt_tokens == sum(a.usage.prompt_tokens for a in alone if a.usage)
    assert len(raw.headers["x-preble-job"].split(", ")) == 2


def test_completions_take_token_ids(client: openai.OpenAI) -> None:
    one = client.completions.create(model=MODEL, prompt=[300, 301, 302], max_tokens=3)
    many = client.completions.create(model=MODEL, prompt=[[300, 301, 302], [303]], max_tokens=3)
    assert one.choices[0].text == many.choices[0].text
    assert len(many.choices) == 2


def test_without_a_limit_a_completion_has_sixteen_tokens(client: openai.OpenAI) -> None:
    usage = client.completions.create(model=MODEL, prompt="hello").usage
    assert usage
    assert usage.completion_tokens == 16


def test_streams_of_several_prompts_come_mixed_and_whole(client: openai.OpenAI) -> None:
    prompts = ["The first prompt of two", "The second prompt of two"]
    whole = client.completions.create(model=MODEL, prompt=prompts, max_tokens=20)
    texts, reasons = {0: "", 1: ""}, {}
    *chunks, last = client.completions.create(
        model=MODEL, prompt=prompts, max_tokens=20, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    for chunk in chunks:
        [choice] = chunk.choices
        texts[choice.index] += choice.text
        if choice.finish_reason:
            reasons[choice.index] = choice.finish_reason
    assert texts == {choice.index: choice.text for choice in whole.choices}
    assert reasons == {0: "length", 1: "length"}
    assert last.usage
    assert last.usage.completion_tokens == 40


@pytest.mark.anyio
async def test_completions_are_made_asynchronously(async_client: openai.AsyncOpenAI) -> None:
    whole = await async_client.completions.create(model=MODEL, prompt="hello", max_tokens=8)
    stream = await async_client.completions.create(
        model=MODEL, prompt="hello", max_tokens=8, stream=True
    )
    assert "".join([c.choices[0].text async for c in stream]) == whole.choices[0].text


def test_a_chat_tells_its_logprobs_whole_and_streamed(client: openai.OpenAI) -> None:
    """The emulated engine is sure of each token."""
    whole = client.chat.completions.create(
        model=MODEL, messages=hello(), max_tokens=20, logprobs=True, top_logprobs=1, seed=7
    )
    told = whole.choices[0].logprobs
    assert told
    assert told.content
    assert len(told.content) == 20
    assert {each.logprob for each in told.content} == {0.0}
    assert [each.top_logprobs[0].token for each in told.content] == [e.token for e in told.content]
    written = b"".join(bytes(each.bytes or ()) for each in told.content).decode()
    # The echo begins with the template's own tokens, which an answer leaves out.
    assert re.sub(r"<\|im_\w+\|>", "", written) == whole.choices[0].message.content
    chunks = client.chat.completions.create(
        model=MODEL, messages=hello(), max_tokens=20, logprobs=True, top_logprobs=1, stream=True
    )
    parts = [chunk.choices[0].logprobs for chunk in chunks]
    assert [each for part in parts if part for each in part.content or ()] == told.content


def test_a_completion_tells_its_logprobs_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.completions.create(model=MODEL, prompt="Hello there", max_tokens=20, logprobs=1)
    told = whole.choices[0].logprobs
    assert told
    assert told.token_logprobs == [0.0] * 20
    assert told.top_logprobs == [{token: 0.0} for token in told.tokens or ()]
    assert "".join(told.tokens or ()) == whole.choices[0].text
    chunks = client.completions.create(
        model=MODEL, prompt="Hello there", max_tokens=20, logprobs=1, stream=True
    )
    parts = [chunk.choices[0].logprobs for chunk in chunks]
    offsets = [each for part in parts if part for each in part.text_offset or ()]
    assert offsets == told.text_offset


def test_fields_of_ours_go_in_the_extra_body(client: openai.OpenAI, pool: Stack) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=hello(), max_tokens=2,
        extra_body={"priority": "high", "tenant": "acme", "deadline_s": 60, "ignore_eos": True},
    )  # fmt: skip
    job = pool.job(raw.headers["x-preble-job"])
    assert (job["priority"], job["tenant"]) == ("high", "acme")
    assert job["deadline_at"]


def test_a_wait_that_takes_too_long_is_a_timeout_and_the_job_goes_on(
    client: openai.OpenAI, pool: Stack
) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(
            model=MODEL, messages=hello(), max_tokens=2_000, timeout=0.2,
            extra_headers={"Idempotency-Key": f"slow-{uuid4()}"}, extra_body={"tenant": "slow"},
        )  # fmt: skip
    listed = client.get("/jobs?tenant=slow", cast_to=dict[str, list[dict[str, str]]])
    [job] = listed["data"]
    assert job["status"] in {"waiting", "assigned", "running", "completed"}
    assert pool.job(job["id"])


def test_bad_requests_name_the_field(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=hello(), n=2)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "n")
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id

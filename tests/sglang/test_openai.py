"""OpenAI's own client before a real SGLang on the CPU. Needs `preble engine install cpu`."""

import os
from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from openai.types.responses import ResponseStreamEvent, ResponseTextDeltaEvent
from processes import Stack, stack

from preble.engine_env import is_installed
from preble.folders import EMBEDDED_MODEL, embedded_model_folder

pytestmark = [
    pytest.mark.process,
    pytest.mark.sglang,
    pytest.mark.skipif(
        "REQUIRE_SGLANG" not in os.environ
        and (not is_installed("cpu", os.environ) or not embedded_model_folder(os.environ).exists()),
        reason="the CPU engine is not installed: preble engine install cpu",
    ),
]

LOAD_S = 240.0
"""What a loaded machine may take until SGLang answers."""

FRANCE: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the capital of France?"}
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("sglang_openai")
    with stack(
        folder, instances=1, ready_s=LOAD_S, engine="sglang", workers="1", context_length="2048"
    ) as made:
        yield made


@pytest.fixture(scope="module")
def client(running: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{running.url}/v1", api_key="any", max_retries=0, timeout=LOAD_S
    ) as made:
        yield made


def texts_of(events: list[ResponseStreamEvent]) -> list[str]:
    return [event.delta for event in events if isinstance(event, ResponseTextDeltaEvent)]


def test_a_chat_is_answered_in_words_and_ends_by_itself(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=EMBEDDED_MODEL, messages=FRANCE, temperature=0)
    [choice] = answer.choices
    assert choice.message.content
    assert "Paris" in choice.message.content
    assert choice.finish_reason == "stop"


def test_a_streamed_chat_is_the_same_chat(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model=EMBEDDED_MODEL, messages=FRANCE, temperature=0, max_tokens=24
    )
    *chunks, last = client.chat.completions.create(
        model=EMBEDDED_MODEL, messages=FRANCE, temperature=0, max_tokens=24, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(texts) == whole.choices[0].message.content
    assert len(chunks) > 3
    assert last.usage
    assert whole.usage
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert last.usage.prompt_tokens_details
    assert last.usage.prompt_tokens_details.cached_tokens, "the prompt was there"


def test_a_stop_text_ends_the_answer_and_is_not_in_it(client: openai.OpenAI) -> None:
    def answer(*, stream: bool) -> str:
        made = client.chat.completions.create(
            model=EMBEDDED_MODEL, messages=FRANCE, temperature=0, max_tokens=24, stop="Paris",
            stream=stream,
        )  # fmt: skip
        if isinstance(made, openai.Stream):
            return "".join(chunk.choices[0].delta.content or "" for chunk in made)
        assert made.choices[0].finish_reason == "stop"
        return made.choices[0].message.content or ""

    assert "Paris" not in answer(stream=False)
    assert answer(stream=True) == answer(stream=False)


def test_completions_come_in_the_order_of_their_prompts(client: openai.OpenAI) -> None:
    prompts = ["The capital of France is", "The capital of Italy is"]
    answer = client.completions.create(
        model=EMBEDDED_MODEL, prompt=prompts, temperature=0, max_tokens=6
    )
    france, italy = answer.choices
    assert "Paris" in france.text
    assert "Rome" in italy.text


def test_a_background_stream_is_resumed(client: openai.OpenAI) -> None:
    seen: list[ResponseStreamEvent] = []
    with client.responses.create(
        model=EMBEDDED_MODEL, input="Tell me about Paris.", background=True, stream=True,
        temperature=0, max_output_tokens=120,
    ) as stream:  # fmt: skip
        for event in stream:
            seen.append(event)
            if len(texts_of(seen)) > 2:
                break
    created, last = seen[0], seen[-1]
    assert created.type == "response.created"
    assert isinstance(last, ResponseTextDeltaEvent)
    rest = list(
        client.responses.retrieve(
            created.response.id, stream=True, starting_after=last.sequence_number
        )
    )
    whole = client.responses.retrieve(created.response.id)
    assert whole.status in {"completed", "incomplete"}
    assert "".join(texts_of(seen) + texts_of(rest)) == whole.output_text


def test_a_response_completes(client: openai.OpenAI) -> None:
    made = client.responses.create(
        model=EMBEDDED_MODEL, instructions="Answer in one word.",
        input="What is the capital of France?", temperature=0,
    )  # fmt: skip
    assert made.status == "completed"
    assert made.output_text
    assert made.prompt_cache_diagnostics

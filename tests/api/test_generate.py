"""SGLang's `/generate`, answered by a job of the queue."""

import json
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest
from api_support import DownBroker, OneWorker, Serve
from generate_support import Asked

from preble.broker.memory import MemoryBroker
from preble.config import Settings
from preble.messages import JobFailure, SamplingParams, pack_tokens
from preble.tokenizer import Tokenizer
from preble_api import waits
from preble_api.generate_parsing import NO_BODY_LIST

pytestmark = pytest.mark.anyio

BENCHMARK_BODY = {
    "text": "a", "sampling_params": {"temperature": 0.0, "max_new_tokens": 8, "ignore_eos": True},
    "stream": False, "lora_path": None, "return_logprob": False, "return_routed_experts": False,
    "logprob_start_len": -1,
}  # fmt: skip
"""As SGLang's own benchmark sends it."""


def events(reply: httpx2.Response) -> list[Any]:
    """The data of an event stream, which must end with `[DONE]`."""
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/event-stream")
    blocks = reply.text.split("\n\n")
    data = [block.removeprefix("data: ") for block in blocks if block.startswith("data: ")]
    assert data[-1] == "[DONE]"
    return [json.loads(each) for each in data[:-1]]


async def test_answer_is_in_sglangs_form(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    asked = Asked(client, memory_broker, {"text": "hello", "rid": "my-rid"})
    job_id = (await asked.job()).job_id

    reply = await asked.completed()

    assert reply.status_code == 200
    answer = reply.json()
    assert answer["meta_info"].pop("e2e_latency") >= 0
    assert answer == {
        "text": "answer",
        "output_ids": [1, 2],
        "meta_info": {
            "id": "my-rid", "finish_reason": {"type": "length", "length": 2},
            "prompt_tokens": 10, "completion_tokens": 2, "cached_tokens": 4,
        },
    }  # fmt: skip
    assert reply.headers["x-preble-job"] == job_id
    assert (await client.get(f"/v1/jobs/{job_id}")).json()["status"] == "completed"


async def test_without_a_rid_the_job_id_is_the_id(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    reply = await Asked(client, memory_broker, {"text": "hello"}).completed()
    assert reply.json()["meta_info"]["id"] == reply.headers["x-preble-job"]


@pytest.mark.parametrize(
    ("body", "is_ids"),
    [
        ({"text": "hello"}, False), ({"input_ids": [5, 6]}, True),
        ({"text": "hello", "input_ids": [5, 6]}, True), ({"text": "hello", "input_ids": []}, False),
    ],
)  # fmt: skip
async def test_prompt_is_text_or_ids_and_ids_win(
    client: httpx2.AsyncClient,
    memory_broker: MemoryBroker,
    tokenizer: Tokenizer,
    body: object,
    *,
    is_ids: bool,
) -> None:
    asked = Asked(client, memory_broker, body)
    await asked.job()
    worker = OneWorker(memory_broker)
    await worker.assign_all()
    [claim] = await worker.run_all()
    assert claim.prompt == pack_tokens([5, 6] if is_ids else tokenizer.encode(["hello"])[0])
    await worker.complete_all()
    await asked.answer()


async def test_defaults_are_sglangs(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    asked = Asked(client, memory_broker, {"text": "hello"})
    assert (await asked.job()).spec.sampling == SamplingParams(max_new_tokens=128)
    await asked.completed()


@pytest.mark.parametrize(
    "extra",
    [
        {"dtype": None, "regex": None, "skip_special_tokens": True},
        {"n": 1, "stop_token_ids": [], "min_new_tokens": 0, "no_stop_trim": False},
        {"stream_interval": 8, "custom_params": {}, "json_schema": ""},
    ],
)
async def test_neutral_values_of_what_is_not_offered_are_taken(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, extra: Mapping[str, object]
) -> None:
    sampling = {"max_new_tokens": 8, "temperature": 0, "stop": ["END"], "top_k": 3, **extra}
    asked = Asked(client, memory_broker, {"text": "a", "sampling_params": sampling})
    assert (await asked.job()).spec.sampling == SamplingParams(
        max_new_tokens=8, temperature=0.0, stop=("END",), top_k=3
    )
    assert (await asked.completed()).status_code == 200


async def test_body_of_sglangs_benchmark_is_taken(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    reply = await Asked(client, memory_broker, BENCHMARK_BODY).completed()
    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "text: give `text` or `input_ids`"),
        ({"input_ids": []}, "text: give `text` or `input_ids`"),
        ({"text": ""}, "text: "),
        ([{"text": "a"}], NO_BODY_LIST),
        ({"text": "a", "rid": "x" * 129}, "rid: "),
        ({"text": "a", "token_ids_logprob": [5]}, "token_ids_logprob: is not offered"),
        ({"text": "a", "return_logprob": [True]}, "return_logprob: expected one, as the prompt is"),
        ({"text": "a", "top_logprobs_num": 21}, "top_logprobs_num: expected `int` <= 20"),
        ({"text": "a", "return_logprob": True, "logprob_start_len": 0}, "logprob_start_len: must"),
        ({"text": "a", "sampling_params": {"sampling_seed": 2**63}}, "sampling_params.sampling_s"),
        ({"text": "a", "sampling_params": {"seed": 1}}, "sampling_params.seed: is not a field"),
        ({"text": "a", "sampling_params": {"logprobs": 1}}, "sampling_params.logprobs: is not a"),
        ({"text": "a", "lora_path": "x"}, "lora_path: is not offered"),
        ({"text": "a", "nonsense": 1}, "nonsense: is not a field"),
        ({"text": "a", "sampling_params": {"nonsense": 1}}, "sampling_params.nonsense: is not a"),
        ({"text": "a", "sampling_params": {"regex": "a+"}}, "sampling_params.regex: is not off"),
        ({"text": "a", "sampling_params": {"dtype": "int"}}, "sampling_params.dtype: is not off"),
        ({"text": "a", "sampling_params": {"n": 2}}, "sampling_params.n: is not offered"),
        ({"text": "a", "sampling_params": {"n": 0}}, "sampling_params.n: is not offered"),
        (
            {"text": "a", "sampling_params": {"skip_special_tokens": False}},
            "sampling_params.skip_special_tokens: is not offered",
        ),
        ({"text": "a", "sampling_params": {"top_p": "x"}}, "sampling_params.top_p: "),
        ({"text": "a", "sampling_params": {"top_k": 0}}, "sampling_params: 0 would leave"),
        ({"text": "word " * 300}, "text: "),
        ({"input_ids": [1] * 250}, "input_ids: "),
        ({"input_ids": [16_384]}, "input_ids[0]: "),
    ],
)
async def test_wrong_body_is_a_400_that_names_the_field(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, body: object, named: str
) -> None:
    reply = await client.post("/generate", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith(named)
    assert (await memory_broker.counts.stats()).waiting == 0


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"priority": ' + b"[" * 100_000])
async def test_what_is_not_json_is_a_400(client: httpx2.AsyncClient, body: bytes) -> None:
    reply = await client.post(
        "/generate", content=body, headers={"content-type": "application/json"}
    )
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid_json"


async def test_stream_repeats_the_answer_as_it_grows(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    """As SGLang's does: text and ids from the beginning, the reason with the last event."""
    asked = Asked(client, memory_broker, {"text": "hello", "rid": "r", "stream": True})
    job_id = (await asked.job()).job_id

    reply = await asked.completed(after=["an", "swe"])

    answers = events(reply)
    assert [answer["text"] for answer in answers] == ["an", "answe", "answer", "answer"]
    assert [answer["output_ids"] for answer in answers] == [[1], [1, 2], [1, 2], [1, 2]]
    assert [answer["meta_info"]["finish_reason"] for answer in answers] == [
        None, None, None, {"type": "length", "length": 2},
    ]  # fmt: skip
    assert {answer["meta_info"]["id"] for answer in answers} == {"r"}
    assert [answer["meta_info"]["completion_tokens"] for answer in answers] == [1, 2, 2, 2]
    assert reply.headers["x-preble-job"] == job_id


async def test_silent_stream_shows_signs_of_life(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "KEEP_ALIVE_S", 0.0)
    asked = Asked(client, memory_broker, {"text": "hello", "stream": True})
    reply = await asked.completed(after=["an"])
    assert ": waiting\n\n" in reply.text
    assert events(reply)[-1]["text"] == "answer"


@pytest.mark.parametrize("said", ["yes", ""])
async def test_who_leaves_says_clearly_what_becomes_of_the_job(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, said: str
) -> None:
    headers = {"x-preble-cancel-on-disconnect": said}
    reply = await client.post("/generate", json={"text": "a"}, headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "x-preble-cancel-on-disconnect"
    assert (await memory_broker.counts.stats()).waiting == 0


REFUSED = JobFailure("engine_refused", "too hot")
USED_UP = JobFailure("attempts_used_up", "three died")
CANCELLED = JobFailure("cancelled", "the job was cancelled")


@pytest.mark.parametrize(
    ("failure", "status", "message"),
    [
        (REFUSED, 400, "too hot"),
        (CANCELLED, 409, "cancelled: the job was cancelled"),
        (USED_UP, 500, "attempts_used_up: three died"),
    ],
)
async def test_failed_job_is_an_error(
    client: httpx2.AsyncClient,
    memory_broker: MemoryBroker,
    failure: JobFailure,
    status: int,
    message: str,
) -> None:
    reply = await Asked(client, memory_broker, {"text": "a"}).failed(failure)
    assert reply.status_code == status
    assert reply.json()["error"]["message"] == message


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (REFUSED, {"message": "too hot", "type": "invalid_request_error", "code": 400}),
        (
            USED_UP,
            {"message": "attempts_used_up: three died", "type": "server_error", "code": 500},
        ),
    ],
)
async def test_failed_job_is_an_event_of_a_stream(
    client: httpx2.AsyncClient,
    memory_broker: MemoryBroker,
    failure: JobFailure,
    told: Mapping[str, object],
) -> None:
    reply = await Asked(client, memory_broker, {"text": "a", "stream": True}).failed(failure)
    assert events(reply) == [{"error": {**told, "retryable": False}}]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_queue_down_or_full_is_told_before_anything_is_streamed(
    serve: Serve, settings: Settings, *, is_streamed: bool
) -> None:
    body = {"text": "hello", "stream": is_streamed}
    for broker, status in ((DownBroker(), 503), (MemoryBroker(max_jobs=0), 429)):
        async with serve(settings, broker) as client:
            reply = await client.post("/generate", json=body)
        assert reply.status_code == status
        assert reply.headers["retry-after"]


async def test_key_and_media_type_are_asked_for(
    serve: Serve, memory_broker: MemoryBroker, client: httpx2.AsyncClient
) -> None:
    async with serve(Settings(api_key="secret"), MemoryBroker()) as locked:
        assert (await locked.post("/generate", json={"text": "a"})).status_code == 401
    reply = await client.post("/generate", content=b'{"text": "a"}')
    assert reply.status_code == 415
    assert (await memory_broker.counts.stats()).waiting == 0

"""What is wrong is refused with a 4xx that names the field, and nothing is enqueued."""

import json

import httpx2
import pytest

from preble.broker.memory import MemoryBroker

pytestmark = pytest.mark.anyio

GOOD = {"prompt": "one good job"}
TEXT = "word " * 300


def sampling(**params: object) -> dict[str, object]:
    return {"prompt": "hello", "sampling_params": params}


JOBS: list[tuple[object, str]] = [
    ({}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": ["a"]}, "prompt"),
    ({"prompt": TEXT}, "prompt"),
    ({"prompt": "a" * 100_000}, "prompt"),
    ({"prompt": "a", "input_ids": [1]}, "prompt"),
    ({"prompt": "a", "messages": [], "input_ids": [1]}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": TEXT}]}, "messages"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
     "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": "hi", "name": "x"}]}, "messages[0].name"),
    ({"input_ids": []}, "input_ids"),
    ({"input_ids": [1] * 300}, "input_ids"),
    ({"input_ids": [1, 2, -1]}, "input_ids[2]"),
    ({"input_ids": [1, 16_384]}, "input_ids[1]"),
    ({"input_ids": [1, 2**40]}, "input_ids[1]"),
    ({"input_ids": [2**100]}, "input_ids[0]"),
    ({"input_ids": [1, 2.5]}, "input_ids[1]"),
    ({"input_ids": [1, True]}, "input_ids[1]"),
    ({"input_ids": "1 2 3"}, "input_ids"),
    ({"prompt": "a", "sampling": {}}, "sampling"),
    ({"prompt": "a", "model": 3}, "model"),
    ({"prompt": "a", "priority": "urgent"}, "priority"),
    ({"prompt": "a", "priority": 1}, "priority"),
    ({"prompt": "a", "tenant": ""}, "tenant"),
    ({"prompt": "a", "tenant": "a" * 65}, "tenant"),
    ({"prompt": "a", "tenant": "a.b"}, "tenant"),
    ({"prompt": "a", "tenant": "a\n"}, "tenant"),
    ({"prompt": "a", "tenant": 7}, "tenant"),
    (sampling(max_new_tokens=0), "sampling_params.max_new_tokens"),
    (sampling(max_new_tokens=256), "prompt"),
    (sampling(max_new_tokens=10**9), "sampling_params.max_new_tokens"),
    (sampling(max_new_tokens="7"), "sampling_params.max_new_tokens"),
    (sampling(temperature=-0.1), "sampling_params.temperature"),
    (sampling(temperature=1e9), "sampling_params.temperature"),
    (sampling(top_p=0), "sampling_params.top_p"),
    (sampling(top_p=1.01), "sampling_params.top_p"),
    (sampling(top_k=0), "sampling_params.top_k"),
    (sampling(top_k=-2), "sampling_params.top_k"),
    (sampling(min_p=2), "sampling_params.min_p"),
    (sampling(frequency_penalty=3), "sampling_params.frequency_penalty"),
    (sampling(presence_penalty=-3), "sampling_params.presence_penalty"),
    (sampling(repetition_penalty=0), "sampling_params.repetition_penalty"),
    (sampling(stop=["x"] * 17), "sampling_params.stop"),
    (sampling(stop=["x" * 257]), "sampling_params.stop[0]"),
    (sampling(stop=""), "sampling_params.stop"),
    (sampling(stop=[""]), "sampling_params.stop[0]"),
    (sampling(ignore_eos=1), "sampling_params.ignore_eos"),
    (sampling(seed=2**63), "sampling_params.seed"),
    (sampling(seed=1.5), "sampling_params.seed"),
    (sampling(logprobs=-1), "sampling_params.logprobs"),
    (sampling(logprobs=21), "sampling_params.logprobs"),
]  # fmt: skip


async def refused(
    client: httpx2.AsyncClient, broker: MemoryBroker, body: object
) -> httpx2.Response:
    """Submit what must be refused."""
    content = body if isinstance(body, bytes) else json.dumps(body)
    reply = await client.post(
        "/v1/jobs", content=content, headers={"content-type": "application/json"}
    )
    stats = await broker.counts.stats()
    assert (stats.waiting, stats.prompt_bytes) == (0, 0)
    assert 400 <= reply.status_code < 500
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-should-retry"] == "false"
    problem = reply.json()
    assert problem["status"] == reply.status_code
    assert problem["detail"] == problem["error"]["message"]
    assert problem["instance"].endswith(reply.headers["x-request-id"])
    return reply


@pytest.mark.parametrize(("job", "field"), JOBS)
async def test_bad_job_is_refused_by_the_name_of_its_field(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, job: object, field: str
) -> None:
    reply = await refused(client, memory_broker, job)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == field


@pytest.mark.parametrize(("job", "field"), JOBS)
async def test_bad_job_in_a_list_is_named_with_its_place_and_the_good_ones_stay_out(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, job: object, field: str
) -> None:
    for body in ([GOOD, job, GOOD], {"jobs": [GOOD, job, GOOD]}):
        reply = await refused(client, memory_broker, body)
        assert reply.status_code == 400
        assert reply.json()["error"]["param"] == f"jobs[1].{field}"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"not json", b'{"prompt": "a"}{}', b'{"prompt": "a",}', b"\xff\xfe",
        b'{"prompt": "\xff"}',
        b'{"prompt": "\\ud800 alone"}',
        b'{"prompt": "a", "sampling_params": {"temperature": NaN}}',
        b'{"prompt": "a", "sampling_params": {"temperature": Infinity}}',
    ],
)  # fmt: skip
async def test_malformed_json_is_refused(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, body: bytes
) -> None:
    reply = await refused(client, memory_broker, body)
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid_json"


async def test_number_too_large_for_a_float_is_refused(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    body = b'{"prompt": "a", "sampling_params": {"temperature": 1e999}}'
    reply = await refused(client, memory_broker, body)
    assert reply.json()["error"]["param"] == "sampling_params.temperature"


@pytest.mark.parametrize("body", [b"null", b"5", b'"prompt"', b"[" * 100_000])
async def test_json_that_is_no_job_is_refused(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, body: bytes
) -> None:
    reply = await refused(client, memory_broker, body)
    assert reply.json()["error"]["code"] == "invalid_value"


@pytest.mark.parametrize(
    "body", [[], {"jobs": []}, [GOOD] * 1001, {"jobs": [GOOD], "model": "m"}, {"jobs": 3}]
)
async def test_list_must_have_1_to_1000_jobs_and_nothing_beside_it(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, body: object
) -> None:
    reply = await refused(client, memory_broker, body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "jobs"


async def test_bare_list_of_other_things_names_the_place(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    reply = await refused(client, memory_broker, [GOOD, 5])
    assert reply.json()["error"]["param"] == "jobs[1]"


@pytest.mark.parametrize(
    ("body", "field"),
    [({**GOOD, "model": "gpt"}, "model"), ([GOOD, {**GOOD, "model": "gpt"}], "jobs[1].model")],
)
async def test_other_model_is_not_found(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, body: object, field: str
) -> None:
    reply = await refused(client, memory_broker, body)
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "model_not_found"
    assert reply.json()["error"]["param"] == field


async def test_prompt_over_the_context_says_all_three_numbers(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    job = {"input_ids": [1] * 250, "sampling_params": {"max_new_tokens": 7}}
    error = (await refused(client, memory_broker, job)).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "250 prompt tokens" in error["message"]
    assert "7 of output make 257" in error["message"]
    assert "context of 256" in error["message"]


async def test_id_outside_the_vocabulary_says_which_and_the_range(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    error = (await refused(client, memory_broker, {"input_ids": [0, 99_999]})).json()["error"]
    assert error["message"] == "input_ids[1]: token id 99999 is not in the vocabulary, 0 to 16383"


async def test_text_that_cannot_fit_is_refused_before_it_is_tokenized(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    messages = [{"role": "user", "content": "a" * 4097}] * 2
    empty = [{"role": "user", "content": ""}] * 400
    parts = [{"role": "user", "content": [{"type": "text", "text": ""}] * 400}]
    for job in (
        {"prompt": "a" * 8193}, {"messages": messages}, {"messages": empty}, {"messages": parts},
    ):  # fmt: skip
        error = (await refused(client, memory_broker, job)).json()["error"]
        assert error["code"] == "context_length_exceeded"
        assert "characters are more than a context of 256 tokens can hold" in error["message"]


async def test_long_unknown_field_is_not_repeated_whole(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    reply = await refused(client, memory_broker, {"prompt": "a", "x" * 10_000: 1})
    assert reply.json()["error"]["param"] == "x" * 64
    assert len(reply.content) < 1_000


async def test_long_wrong_choice_is_not_repeated_whole(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    parts = [{"type": "y" * 10_000, "text": "hi"}]
    reply = await refused(client, memory_broker, {"messages": [{"role": "u", "content": parts}]})
    assert len(reply.content) < 1_000


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_what_a_foreign_web_page_could_send_is_refused(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, media_type: str | None
) -> None:
    headers = {"content-type": media_type} if media_type else {}
    reply = await client.post("/v1/jobs", content=b'{"prompt": "hi"}', headers=headers)
    assert reply.status_code == 415
    assert (await memory_broker.counts.stats()).waiting == 0

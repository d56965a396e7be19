"""SGLang's routes on a real pool with two api processes."""

import httpx2
import pytest
from processes import Stack

pytestmark = pytest.mark.process

RID = "3b6f0c9a-51d4-4f6e-8d55-0e1f5f7a2c31"
LONG = {"ignore_eos": True, "max_new_tokens": 4_000}
PROMPT = "the cat sat on the mat " * 60


def test_a_job_is_aborted_by_its_uuid_at_another_api(pool: Stack, other_url: str) -> None:
    body = {"text": "hello", "rid": RID, "sampling_params": LONG}
    asked = httpx2.post(f"{pool.url}/generate", json=body, headers={"prefer": "respond-async"})
    assert asked.status_code == 202
    reply = httpx2.post(f"{other_url}/abort_request", json={"rid": RID})
    assert (reply.status_code, reply.json()["aborted"]) == (200, 1)
    again = httpx2.post(f"{pool.url}/generate", json=body)
    assert (again.status_code, again.headers["content-type"]) == (409, "application/problem+json")


def test_logprobs_are_told_as_sglang_does(pool: Stack) -> None:
    body = {
        "text": "hello", "sampling_params": {"max_new_tokens": 3, "sampling_seed": 7},
        "return_logprob": True, "top_logprobs_num": 1,
    }  # fmt: skip
    answer = httpx2.post(f"{pool.url}/generate", json=body).json()
    told = answer["meta_info"]
    entries = [[0.0, token_id, None] for token_id in answer["output_ids"]]
    assert told["output_token_logprobs"] == entries
    assert told["output_top_logprobs"] == [[each] for each in entries]


def test_what_came_twice_is_explained_as_a_hit(pool: Stack) -> None:
    body = {"text": PROMPT, "sampling_params": {"max_new_tokens": 2}}
    first, second = (httpx2.post(f"{pool.url}/generate", json=body) for _ in range(2))
    told = httpx2.get(f"{pool.url}/v1/jobs/{second.headers['x-preble-job']}/explain").json()
    assert told["verdict"] == "hit"
    assert told["hit_tokens"]["delivered"] == second.json()["meta_info"]["cached_tokens"]
    assert told["hit_tokens"]["predicted"] == told["hit_tokens"]["available"]
    assert [each["instance_id"] for each in told["candidates"]] == [told["instance"]]
    before = httpx2.get(f"{pool.url}/v1/jobs/{first.headers['x-preble-job']}/explain").json()
    assert before["verdict"] == "no_reuse"

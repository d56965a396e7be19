"""Requests that do not wait to the end: the `Prefer` header, and keys that name a request."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx2
import openai
import pytest
from processes import Stack
from support import eventually

pytestmark = pytest.mark.process

MODEL = "preble-emulated"
NOW = {"Prefer": "respond-async"}
SOON = {"Prefer": "wait=1"}
LONG = 4_000

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"model": MODEL, "prompt": "hi"},
    "/generate": {"text": "hi"},
}


def with_length(path: str, tokens: int) -> dict[str, Any]:
    if path == "/generate":
        return BODIES[path] | {"sampling_params": {"max_new_tokens": tokens}}
    return BODIES[path] | {"max_tokens": tokens}


def post(pool: Stack, path: str, tokens: int, headers: dict[str, str]) -> httpx2.Response:
    body = with_length(path, tokens)
    return httpx2.post(f"{pool.url}{path}", json=body, headers=headers, timeout=60)


@pytest.mark.parametrize("path", BODIES)
def test_respond_async_says_where_the_job_is(pool: Stack, path: str) -> None:
    reply = post(pool, path, 3, NOW)
    assert reply.status_code == 202
    job_id = reply.headers["x-preble-job"]
    assert reply.headers["location"] == f"/v1/jobs/{job_id}"
    assert reply.headers["preference-applied"] == "respond-async"
    assert (reply.json()["id"], reply.json()["object"]) == (job_id, "job")
    eventually(lambda: pool.job(job_id)["status"] == "completed")


@pytest.mark.parametrize("path", BODIES)
def test_a_bounded_wait_ends_with_the_job_or_with_its_place(pool: Stack, path: str) -> None:
    done = post(pool, path, 3, SOON)
    assert (done.status_code, done.headers["preference-applied"]) == (200, "wait=1")
    late = post(pool, path, LONG, SOON)
    assert (late.status_code, late.headers["preference-applied"]) == (202, "wait=1")
    httpx2.post(f"{pool.url}{late.headers['location']}/cancel")


@pytest.mark.parametrize("preference", ["wait=abc", "handling=lenient", "", "wait"])
def test_other_preferences_are_passed_over(pool: Stack, preference: str) -> None:
    reply = post(pool, "/v1/completions", 3, {"Prefer": preference})
    assert reply.status_code == 200
    assert "preference-applied" not in reply.headers


def test_a_wait_is_bounded_by_a_minute(pool: Stack) -> None:
    reply = post(pool, "/v1/completions", 3, {"Prefer": 'respond-async, wait="3600"; x=y'})
    assert reply.headers["preference-applied"] == "wait=60"


def test_several_prompts_are_several_jobs(pool: Stack) -> None:
    body = {"model": MODEL, "prompt": ["a", "b"]}
    reply = httpx2.post(f"{pool.url}/v1/completions", json=body, headers=NOW)
    assert reply.status_code == 202
    ids = [job["id"] for job in reply.json()["data"]]
    assert reply.headers["x-preble-job"] == ", ".join(ids)
    assert len(ids) == 2


def test_openais_client_takes_the_202(client: openai.OpenAI, pool: Stack) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": "hi"}], extra_headers=NOW
    )
    assert raw.status_code == 202
    assert pool.job(raw.parse().id)


def test_a_response_that_is_not_waited_for_is_shown_as_it_stands(client: openai.OpenAI) -> None:
    raw = client.responses.with_raw_response.create(
        model=MODEL, input="hi", max_output_tokens=LONG, extra_headers=NOW
    )
    made = raw.parse()
    assert (raw.status_code, raw.headers["location"]) == (202, f"/v1/responses/{made.id}")
    assert made.status in {"queued", "in_progress"}
    assert client.responses.cancel(made.id).status == "cancelled"


def test_a_response_may_be_waited_for(client: openai.OpenAI) -> None:
    made = client.responses.create(model=MODEL, input="hi", max_output_tokens=300, background=True)
    done = client.responses.retrieve(made.id, extra_headers={"Prefer": "wait=30"})
    assert done.status == "incomplete"


def test_a_job_may_be_waited_for(pool: Stack) -> None:
    [job_id] = pool.submit([{"prompt": "hi", "sampling_params": {"max_new_tokens": 300}}])
    reply = httpx2.get(f"{pool.url}/v1/jobs/{job_id}", headers={"Prefer": "wait=30"}, timeout=60)
    assert reply.json()["status"] == "completed"
    assert reply.headers["preference-applied"] == "wait=30"
    assert "retry-after" not in reply.headers


def test_a_request_that_comes_again_under_its_key_is_answered_alike(
    client: openai.OpenAI, other: openai.OpenAI
) -> None:
    key = {"Idempotency-Key": f"key-{uuid4()}"}
    one = client.responses.create(
        model=MODEL, input="hi", max_output_tokens=3, metadata={"a": "b"}, extra_headers=key
    )
    again = other.responses.create(
        model=MODEL, input="hi", max_output_tokens=3, metadata={"a": "b"}, extra_headers=key
    )
    assert again == one
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.responses.create(model=MODEL, input="other", extra_headers=key)
    assert caught.value.code == "idempotency_key_reused"


def test_several_prompts_come_again_under_one_key(client: openai.OpenAI) -> None:
    key = {"Idempotency-Key": f"key-{uuid4()}"}
    one, again = (
        client.completions.create(model=MODEL, prompt=["a", "b"], extra_headers=key)
        for _ in range(2)
    )
    assert one == again


async def left_alone(
    client: httpx2.AsyncClient, tenant: str, body: dict[str, Any], headers: dict[str, str]
) -> list[str]:
    """The two jobs of a request whose client left once they were in the queue."""
    asked = asyncio.ensure_future(
        client.post("/v1/completions", json=body | {"tenant": tenant}, headers=headers)
    )
    async with asyncio.timeout(30):
        while len(jobs := await listed(client, tenant)) < 2:  # noqa: ASYNC110  # see support.eventually
            await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait({asked})
    return jobs


async def listed(client: httpx2.AsyncClient, tenant: str) -> list[str]:
    page = (await client.get(f"/v1/jobs?tenant={tenant}")).json()
    return [job["id"] for job in page["data"]]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_jobs_go_with_their_client_only_if_asked(pool: Stack, *, stream: bool) -> None:
    body = with_length("/v1/completions", LONG) | {"prompt": ["a", "b"], "stream": stream}
    gone_with_it = {"x-preble-cancel-on-disconnect": "true"}
    async with httpx2.AsyncClient(base_url=pool.url, timeout=60) as client:
        gone = await left_alone(client, f"gone{stream}", body, gone_with_it)
        stays = await left_alone(client, f"stays{stream}", body | {"max_tokens": 1_500}, {})

    def statuses(job_ids: list[str]) -> set[object]:
        return {pool.job(job_id)["status"] for job_id in job_ids}

    eventually(lambda: statuses(gone) == {"cancelled"})
    eventually(lambda: statuses(stays) == {"completed"})

"""Requests that come again."""

from collections.abc import Sequence

import httpx2
import pytest

from preble.broker.memory import MemoryBroker
from preble.config import Settings

pytestmark = pytest.mark.anyio

JOB = {"prompt": "hello"}


async def post(client: httpx2.AsyncClient, body: object, key: str | None = "k1") -> httpx2.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await client.post("/v1/jobs", json=body, headers=headers)


def ids(reply: httpx2.Response) -> Sequence[str]:
    assert reply.status_code == 202
    accepted = reply.json()
    return [each["id"] for each in accepted.get("data", [accepted])]


async def num_waiting(broker: MemoryBroker) -> int:
    return (await broker.counts.stats()).waiting


@pytest.mark.parametrize("body", [JOB, [JOB, {"prompt": "hi"}, JOB]])
async def test_the_same_request_is_answered_alike_and_makes_no_second_job(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, body: object
) -> None:
    first = ids(await post(client, body))
    assert len(set(first)) == len(first) == await num_waiting(memory_broker)
    assert ids(await post(client, body)) == first
    assert await num_waiting(memory_broker) == len(first)


async def test_it_finds_the_job_wherever_it_stands(client: httpx2.AsyncClient) -> None:
    [job_id] = ids(await post(client, JOB))
    await client.post(f"/v1/jobs/{job_id}/cancel")
    assert ids(await post(client, JOB)) == [job_id]
    assert (await client.get(f"/v1/jobs/{job_id}")).json()["status"] == "cancelled"


async def test_without_a_key_or_under_another_it_is_another_job(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    for key in ("k1", "k2", None, None):
        await post(client, JOB, key)
    assert await num_waiting(memory_broker) == 4


async def test_tenants_have_keys_of_their_own(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    for tenant in ("a", "b"):
        ids(await post(client, {**JOB, "tenant": tenant}))
    assert await num_waiting(memory_broker) == 2


@pytest.mark.parametrize("other", [{"prompt": "other"}, [JOB], [JOB, JOB]])
async def test_another_request_under_a_used_key_is_refused(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, other: object
) -> None:
    await post(client, JOB)
    reply = await post(client, other)
    assert reply.status_code == 422
    assert reply.json()["error"]["code"] == "idempotency_key_reused"
    assert reply.json()["error"]["param"] == "Idempotency-Key"
    assert reply.headers["x-should-retry"] == "false"
    assert await num_waiting(memory_broker) == 1


@pytest.mark.parametrize(
    "headers", [{"X-Preble-Priority": "high"}, {"Cancel-After": "90"}], ids=["queue", "deadline"]
)
async def test_other_headers_that_make_another_job_are_another_request(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, headers: dict[str, str]
) -> None:
    await post(client, JOB)
    reply = await client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "k1", **headers})
    assert reply.status_code == 422
    assert await num_waiting(memory_broker) == 1


async def test_the_same_body_at_another_route_is_another_request(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    body = {"model": Settings().model, "prompt": "hello"}
    ids(await post(client, body))
    reply = await client.post("/v1/completions", json=body, headers={"Idempotency-Key": "k1"})
    assert reply.status_code == 422
    assert await num_waiting(memory_broker) == 1


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, "\u00e4"])
async def test_a_key_that_is_none_is_refused(client: httpx2.AsyncClient, key: str) -> None:
    headers = [(b"idempotency-key", key.encode())]
    reply = await client.post("/v1/jobs", json=JOB, headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "Idempotency-Key"


async def test_jobs_with_keys_of_their_own_are_found_in_any_list(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    a, b, c = ({**JOB, "idempotency_key": name} for name in "abc")
    first = ids(await post(client, [a, b], None))
    second = ids(await post(client, [c, JOB, b], "another"))
    assert second[2] == first[1]
    assert len({*first, *second}) == 4 == await num_waiting(memory_broker)
    assert ids(await post(client, a, None)) == [first[0]]


async def test_another_job_under_a_jobs_own_key_is_refused(client: httpx2.AsyncClient) -> None:
    await post(client, {**JOB, "idempotency_key": "a"}, None)
    reply = await post(client, [{"prompt": "other", "idempotency_key": "a"}], None)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "idempotency_key_reused")


async def test_a_jobs_own_key_is_not_a_requests(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    ids(await post(client, {**JOB, "idempotency_key": "k1"}, None))
    ids(await post(client, JOB, "k1"))
    assert await num_waiting(memory_broker) == 2


async def test_one_key_for_two_jobs_of_a_list_is_refused(client: httpx2.AsyncClient) -> None:
    reply = await post(client, [JOB, *[{**JOB, "idempotency_key": "a"}] * 2], None)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "jobs[2].idempotency_key"


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, "a\n"])
async def test_what_is_no_key_of_a_job_is_refused(client: httpx2.AsyncClient, key: str) -> None:
    reply = await post(client, [{**JOB, "idempotency_key": key}], None)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "jobs[0].idempotency_key"

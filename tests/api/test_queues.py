"""Priorities and tenants: where jobs wait, in which order, and how a client says so."""

import asyncio
from typing import Final

import httpx2
import pytest
from api_support import Serve

from preble.broker.memory import MemoryBroker
from preble.config import Settings
from preble.messages import JobId, WaitingJob

pytestmark = pytest.mark.anyio

BLOCK: Final = 16
"""Tokens, in the settings of these tests."""


def prompt(*blocks: int, rest: int = 0) -> list[int]:
    """Token ids of some blocks, each all of one token, and of a last one that is not full."""
    return [token for token in blocks for _ in range(BLOCK)] + [99] * rest


async def waiting(broker: MemoryBroker) -> dict[str, list[str]]:
    """Ids by queue, each named by its priority and tenant."""
    found: dict[str, list[str]] = {}
    for job in await broker.peek(1_000):
        found.setdefault(job.ingress.partition(".ingress.")[2], []).append(job.job_id)
    return found


async def submit(client: httpx2.AsyncClient, jobs: list[dict[str, object]]) -> list[str]:
    reply = await client.post("/v1/jobs", json=jobs)
    assert reply.status_code == 202
    return [each["id"] for each in reply.json()["data"]]


async def test_jobs_wait_where_they_say_and_say_where_they_wait(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    plain, high, acme, both = await submit(
        client,
        [
            {"prompt": "a"}, {"prompt": "a", "priority": "high"},
            {"prompt": "a", "tenant": "acme-2_x"},
            {"prompt": "a", "priority": "batch", "tenant": "T" * 64},
        ],
    )  # fmt: skip
    assert await waiting(memory_broker) == {
        "batch." + "T" * 64: [both], "high.default": [high], "normal.acme-2_x": [acme],
        "normal.default": [plain],
    }  # fmt: skip
    shown = (await client.get(f"/v1/jobs/{both}")).json()
    assert (shown["priority"], shown["tenant"]) == ("batch", "T" * 64)
    shown = (await client.get(f"/v1/jobs/{plain}")).json()
    assert (shown["priority"], shown["tenant"]) == ("normal", "default")


async def test_a_single_job_may_say_so_too(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    reply = await client.post("/v1/jobs", json={"prompt": "a", "priority": "high", "tenant": "t"})
    assert await waiting(memory_broker) == {"high.t": [reply.json()["id"]]}


async def test_batch_jobs_wait_in_prefix_order_and_are_answered_in_theirs(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    ids = [
        prompt(1, 2, 3), prompt(7), prompt(1), prompt(7, 1, rest=3), prompt(1, 2),
        prompt(7, rest=9), prompt(1, 2, 3, rest=5),
    ]  # fmt: skip
    jobs: list[dict[str, object]] = [{"input_ids": each, "priority": "batch"} for each in ids]
    long, seven, one, seven_one, one_two, seven_rest, long_rest = await submit(client, jobs)
    for job_id, job_ids in zip(
        (long, seven, one, seven_one, one_two, seven_rest, long_rest), ids, strict=True
    ):
        view = await memory_broker.view(JobId(job_id))
        assert view
        assert view.spec.prompt_tokens == len(job_ids)
    assert await waiting(memory_broker) == {
        "batch.default": [one, one_two, long, long_rest, seven, seven_rest, seven_one]
    }


async def test_other_jobs_of_the_list_keep_their_order(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    mixed: list[dict[str, object]] = [
        {"input_ids": prompt(token), "priority": priority}
        for token, priority in [
            (1, "normal"), (1, "batch"), (2, "normal"), (2, "batch"), (1, "normal"), (1, "batch"),
        ]
    ]  # fmt: skip
    accepted = await submit(client, mixed)
    assert await waiting(memory_broker) == {
        "batch.default": [accepted[1], accepted[5], accepted[3]],
        "normal.default": [accepted[0], accepted[2], accepted[4]],
    }


async def test_a_tenant_too_many_is_429_and_told_what_to_do(
    serve: Serve, settings: Settings
) -> None:
    broker = MemoryBroker(max_ingresses=1)
    async with serve(settings, broker) as client:
        await submit(client, [{"prompt": "a"}])
        reply = await client.post(
            "/v1/jobs", json=[{"prompt": "a"}, {"prompt": "a", "tenant": "b"}]
        )
        assert reply.status_code == 429
        assert reply.headers["retry-after"] == "1"
        assert "its 1 ingress queues" in reply.json()["detail"]
        assert "PREBLE_MAX_INGRESSES" in reply.json()["detail"]
        assert (await broker.counts.stats()).waiting == 1


@pytest.mark.parametrize(
    ("headers", "ingress"),
    [
        ({}, "normal.default"),
        ({"X-Preble-Priority": "high"}, "high.default"),
        ({"x-preble-tenant": "acme", "x-preble-priority": "batch"}, "batch.acme"),
    ],
)
async def test_generate_says_in_headers_where_it_waits(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, headers: dict[str, str], ingress: str
) -> None:
    asking = asyncio.create_task(client.post("/generate", json={"text": "a"}, headers=headers))
    async with asyncio.timeout(10):
        jobs: list[WaitingJob] = []
        while not jobs:
            await asyncio.sleep(0)
            jobs = await memory_broker.peek(10)
    asking.cancel()
    assert [job.ingress.partition(".ingress.")[2] for job in jobs] == [ingress]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Preble-Priority", "urgent"), ("X-Preble-Priority", ""), ("X-Preble-Tenant", "a.b"),
        ("X-Preble-Tenant", ""), ("X-Preble-Tenant", "a" * 65),
    ],
)  # fmt: skip
async def test_a_wrong_header_is_named(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, name: str, value: str
) -> None:
    reply = await client.post("/generate", json={"text": "a"}, headers={name: value})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == name
    assert "must be" in reply.json()["detail"]
    assert (await memory_broker.counts.stats()).waiting == 0


@pytest.mark.parametrize(
    ("field", "value", "right"),
    [("priority", "urgent", "`high`, `normal` or `batch`"), ("tenant", "a.b", "1 to 64 letters")],
)
async def test_a_wrong_field_is_told_what_would_be_right(
    client: httpx2.AsyncClient, field: str, value: str, right: str
) -> None:
    reply = await client.post("/v1/jobs", json=[{"prompt": "a"}, {"prompt": "a", field: value}])
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == f"jobs[1].{field}"
    assert right in reply.json()["detail"]


async def test_fields_and_headers_are_described(client: httpx2.AsyncClient) -> None:
    page = (await client.get("/openapi.json")).json()
    job = page["components"]["schemas"]["JobRequest"]
    assert job["properties"]["priority"]["enum"] == ["batch", "high", "normal"]
    assert {"priority", "tenant"}.isdisjoint(job.get("required", ()))
    assert {"priority", "tenant"} <= page["components"]["schemas"]["JobStatus"]["properties"].keys()
    parameters = page["paths"]["/generate"]["post"]["parameters"]
    assert [(each["name"], each["in"], each["required"]) for each in parameters] == [
        ("X-Preble-Priority", "header", False), ("X-Preble-Tenant", "header", False),
        ("Cancel-After", "header", False), ("Idempotency-Key", "header", False),
        ("x-preble-cancel-on-disconnect", "header", False), ("Prefer", "header", False),
    ]  # fmt: skip
    assert parameters[0]["schema"]["enum"] == ["batch", "high", "normal"]

"""Many jobs asked for at once: what has ended, what is missing, and waiting for the first."""

import asyncio
from typing import Any

import httpx2
import pytest
from api_support import SOME_JOB, DownBroker, OneWorker, Serve

from preble.broker.memory import MemoryBroker
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.config import Settings
from preble_api.list_schemas import MAX_ASKED

pytestmark = pytest.mark.anyio

SOON = {"Prefer": "wait=1"}
LONG = {"Prefer": "wait=60"}


async def submitted(client: httpx2.AsyncClient, number: int = 1) -> list[str]:
    reply = await client.post("/v1/jobs", json=[{"prompt": "hello"}] * number)
    assert reply.status_code == 202
    return [job["id"] for job in reply.json()["data"]]


async def ended(
    client: httpx2.AsyncClient, *job_ids: str, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    reply = await client.get("/v1/jobs/ended", params={"ids": ",".join(job_ids)}, headers=headers)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def complete(broker: MemoryBroker) -> None:
    worker = OneWorker(broker)
    await worker.assign_all()
    await worker.run_all()
    await worker.complete_all()


async def test_those_that_ended_come_whole_and_the_others_do_not(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    done = await submitted(client, 2)
    await complete(memory_broker)
    [open_id] = await submitted(client)
    found = await ended(client, done[1], open_id, done[0])
    shown = [(await client.get(f"/v1/jobs/{job_id}")).json() for job_id in (done[1], done[0])]
    assert shown[0]["result"]["text"]
    assert found == {"object": "list", "data": shown, "missing": []}


async def test_what_nobody_knows_is_missing(client: httpx2.AsyncClient) -> None:
    [job_id] = await submitted(client)
    found = await ended(client, job_id, SOME_JOB, headers=LONG)
    assert found == {"object": "list", "data": [], "missing": [SOME_JOB]}


async def test_another_tenants_job_is_missing(
    serve: Serve, memory_broker: MemoryBroker, settings: Settings
) -> None:
    keys = MemoryApiKeys()
    made = [
        (await keys.create("n", tenant=each, scopes=["submit", "read"], life_s=None))[0]
        for each in ("a", "b")
    ]
    own, other = ({"authorization": f"Bearer {key}"} for key in made)
    async with serve(settings, memory_broker, keys) as client:
        reply = await client.post("/v1/jobs", json={"prompt": "hello"}, headers=own)
        job_id = reply.json()["id"]
        await complete(memory_broker)
        assert (await ended(client, job_id, headers=other))["missing"] == [job_id]
        assert [job["id"] for job in (await ended(client, job_id, headers=own))["data"]] == [job_id]


async def test_a_wait_ends_with_the_first_end(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    job_ids = await submitted(client, 3)
    asking = asyncio.create_task(ended(client, *job_ids, headers=LONG))
    await asyncio.sleep(0)
    await complete(memory_broker)
    async with asyncio.timeout(30):
        assert len((await asking)["data"]) == 3


async def test_a_wait_for_nothing_is_over_in_time(client: httpx2.AsyncClient) -> None:
    job_ids = await submitted(client, 2)
    reply = await client.get(
        "/v1/jobs/ended", params={"ids": ",".join(job_ids)}, headers={"Prefer": "wait=1"}
    )
    assert reply.json()["data"] == []
    assert reply.headers["preference-applied"] == "wait=1"


@pytest.mark.parametrize("ids", ["", "a,,b", "a b", "x" * 65, ",".join(map(str, range(201)))])
async def test_what_are_no_ids_is_refused(client: httpx2.AsyncClient, ids: str) -> None:
    reply = await client.get("/v1/jobs/ended", params={"ids": ids})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "ids")


async def test_as_many_as_may_be_asked_for_fit_a_url(client: httpx2.AsyncClient) -> None:
    job_ids = await submitted(client, MAX_ASKED)
    assert (await ended(client, *job_ids))["missing"] == []


async def test_a_queue_that_is_away_is_no_end(serve: Serve, settings: Settings) -> None:
    async with serve(settings, DownBroker()) as client:
        reply = await client.get("/v1/jobs/ended", params={"ids": SOME_JOB}, headers=SOON)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "queue_unavailable")

"""Lists of jobs, and failed jobs that run again."""

import httpx2
import pytest
from api_support import SOME_JOB, DownBroker, OneWorker, Serve

from preble.broker.memory import MemoryBroker
from preble.config import Settings
from preble.messages import JobFailure
from preble_api.list_schemas import MAX_LISTED

pytestmark = pytest.mark.anyio


async def submit(client: httpx2.AsyncClient, *, tenant: str = "default") -> str:
    reply = await client.post("/v1/jobs", json={"prompt": "hello", "tenant": tenant})
    assert reply.status_code == 202
    job_id: str = reply.json()["id"]
    return job_id


async def fail(client: httpx2.AsyncClient, broker: MemoryBroker) -> str:
    """A new job that has failed."""
    return await fail_with(OneWorker(broker), client)


async def fail_with(worker: OneWorker, client: httpx2.AsyncClient) -> str:
    job_id = await submit(client)
    await worker.assign_all()
    await worker.run_all()
    await worker.fail_all(JobFailure("engine_refused", "too hot"))
    return job_id


async def ids(client: httpx2.AsyncClient, query: str = "") -> list[str]:
    reply = await client.get(f"/v1/jobs{query}")
    assert reply.status_code == 200
    return [job["id"] for job in reply.json()["data"]]


async def test_an_entry_is_the_job_as_it_stands(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    job_id = await fail(client, memory_broker)
    page = (await client.get("/v1/jobs")).json()
    job = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert job["assignment"]
    assert page == {
        "object": "list", "data": [{**job, "assignment": None}], "has_more": False, "next": None,
    }  # fmt: skip


async def test_pages_follow_one_another(client: httpx2.AsyncClient) -> None:
    submitted = [await submit(client) for _ in range(5)]
    for order, expected in (("desc", submitted[::-1]), ("asc", submitted)):
        seen, after = list[str](), ""
        while True:
            reply = await client.get(f"/v1/jobs?limit=2&order={order}{after}")
            page = reply.json()
            seen += [job["id"] for job in page["data"]]
            assert page["has_more"] == (page["next"] is not None)
            if not page["has_more"]:
                break
            after = f"&after={page['next']}"
        assert seen == expected


async def test_a_page_holds_twenty_unless_told_otherwise(client: httpx2.AsyncClient) -> None:
    await client.post("/v1/jobs", json=[{"prompt": "hello"}] * 120)
    assert len(await ids(client)) == 20
    assert len(await ids(client, f"?limit={MAX_LISTED}")) == MAX_LISTED


async def test_status_and_tenant_choose(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    failed = await fail(client, memory_broker)
    waiting = await submit(client, tenant="acme")
    assert await ids(client, "?status=failed") == [failed]
    assert await ids(client, "?status=waiting") == [waiting]
    assert await ids(client, "?tenant=acme") == [waiting]
    assert await ids(client, "?tenant=acme&status=failed") == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("status=finished", "status"), ("status=", "status"), ("tenant=a.b", "tenant"),
        ("tenant=*", "tenant"), ("tenant=", "tenant"), ("limit=0", "limit"),
        (f"limit={MAX_LISTED + 1}", "limit"), ("limit=many", "limit"), ("limit=", "limit"),
        ("after=-1", "after"), ("after=abc", "after"), ("after=9007199254740992", "after"),
        (f"after={'9' * 400}", "after"), ("order=random", "order"), ("offset=20", "offset"),
        ("status=null", "status"), ("after=null", "after"),
        ("limit=1&limit=2", "limit"), (f"{'x' * 500}=1", "x" * 64), ("=", ""), ("a%0a=1", "a\n"),
    ],
)  # fmt: skip
async def test_a_wrong_parameter_is_named(
    client: httpx2.AsyncClient, query: str, param: str
) -> None:
    reply = await client.get(f"/v1/jobs?{query}")
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["error"]["param"] == (param or None)
    assert len(reply.text) < 1_000


async def test_a_failed_job_runs_again(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    worker = OneWorker(memory_broker)
    job_id = await fail_with(worker, client)
    reply = await client.post(f"/v1/jobs/{job_id}/retry")
    assert reply.status_code == 200
    job = reply.json()
    assert (job["id"], job["status"], job["attempt"], job["error"]) == (job_id, "waiting", 0, None)
    await worker.assign_all()
    await worker.run_all()
    await worker.complete_all()
    done = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert (done["status"], done["result"]["text"]) == ("completed", "answer")
    page = (await client.get("/metrics")).text
    assert "preble_pool_jobs_retried_total 1.0" in page.splitlines()


async def test_retrying_twice_does_no_harm(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    job_id = await fail(client, memory_broker)
    replies = [await client.post(f"/v1/jobs/{job_id}/retry") for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].json() == replies[1].json()
    assert (await memory_broker.counts.stats()).waiting == 1


async def test_what_ended_otherwise_cannot_run_again(client: httpx2.AsyncClient) -> None:
    job_id = await submit(client)
    await client.post(f"/v1/jobs/{job_id}/cancel")
    reply = await client.post(f"/v1/jobs/{job_id}/retry")
    assert reply.status_code == 409
    assert reply.json()["error"]["code"] == "job_not_failed"
    assert "cancelled" in reply.json()["detail"]
    assert reply.headers["x-should-retry"] == "false"


async def test_without_its_prompt_a_job_cannot_run_again(serve: Serve, settings: Settings) -> None:
    broker = MemoryBroker(max_dead_letter_bytes=0)
    async with serve(settings, broker) as client:
        job_id = await fail(client, broker)
        reply = await client.post(f"/v1/jobs/{job_id}/retry")
    assert reply.status_code == 409
    assert reply.json()["error"]["code"] == "prompt_dropped"


async def test_a_full_queue_takes_no_failed_job_back(serve: Serve, settings: Settings) -> None:
    broker = MemoryBroker(max_jobs=1)
    async with serve(settings, broker) as client:
        job_id = await fail(client, broker)
        await submit(client)
        reply = await client.post(f"/v1/jobs/{job_id}/retry")
        assert reply.status_code == 429
        assert reply.headers["retry-after"]
        assert reply.json()["error"]["code"] == "queue_full"
        assert (await client.get(f"/v1/jobs/{job_id}")).json()["status"] == "failed"


@pytest.mark.parametrize("job_id", ["job_unknown", "a" * 65, "%2e%2e"])
async def test_what_does_not_exist_cannot_run_again(
    client: httpx2.AsyncClient, job_id: str
) -> None:
    assert (await client.post(f"/v1/jobs/{job_id}/retry")).status_code == 404


async def test_an_expired_job_is_gone(client: httpx2.AsyncClient) -> None:
    job_id = SOME_JOB[:12] + "0" * 32
    assert (await client.post(f"/v1/jobs/{job_id}/retry")).status_code == 410


async def test_the_queue_must_be_there(serve: Serve, settings: Settings) -> None:
    async with serve(settings, DownBroker()) as client:
        assert (await client.get("/v1/jobs")).status_code == 503
        assert (await client.post(f"/v1/jobs/{SOME_JOB}/retry")).status_code == 503


async def test_dead_letters_are_a_metric(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    await fail(client, memory_broker)
    held = (await memory_broker.counts.stats()).dead_letter_bytes
    assert held
    page = (await client.get("/metrics")).text
    assert f"preble_pool_dead_letter_bytes {float(held)}" in page.splitlines()


async def test_the_parameters_are_described(client: httpx2.AsyncClient) -> None:
    page = (await client.get("/openapi.json")).json()
    parameters = page["paths"]["/v1/jobs"]["get"]["parameters"]
    assert [each["name"] for each in parameters] == ["status", "tenant", "limit", "after", "order"]
    assert all(each["description"] for each in parameters)
    assert parameters[0]["schema"] == {"$ref": "#/components/schemas/JobState"}
    assert "failed" in page["components"]["schemas"]["JobState"]["enum"]
    limit = parameters[2]["schema"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, MAX_LISTED, 20)

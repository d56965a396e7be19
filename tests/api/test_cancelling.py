"""Cancelling jobs, and their deadlines."""

import httpx2
import pytest
from api_support import SOME_JOB, DownBroker, OneWorker, Serve

from preble.broker.memory import MemoryBroker
from preble.config import Settings

pytestmark = pytest.mark.anyio


async def submit(
    client: httpx2.AsyncClient, *, deadline_s: float | None = None, cancel_after: str | None = None
) -> str:
    """The path of a new job."""
    body = {"prompt": "hello"} | ({} if deadline_s is None else {"deadline_s": deadline_s})
    headers = {} if cancel_after is None else {"Cancel-After": cancel_after}
    reply = await client.post("/v1/jobs", json=body, headers=headers)
    assert reply.status_code == 202
    path: str = reply.json()["urls"]["self"]
    return path


async def lifetime_s(client: httpx2.AsyncClient, path: str) -> float | None:
    """From its submission to its deadline."""
    job = (await client.get(path)).json()
    return None if job["deadline_at"] is None else job["deadline_at"] - job["created_at"]


async def test_a_job_is_cancelled_and_says_so(client: httpx2.AsyncClient) -> None:
    path = await submit(client)
    reply = await client.post(f"{path}/cancel")
    assert reply.status_code == 200
    job = reply.json()
    assert (job["status"], job["error"]["code"], job["result"]) == ("cancelled", "cancelled", None)
    assert job["ended_at"]
    assert "retry-after" not in reply.headers
    assert (await client.get(path)).json() == job


async def test_cancelling_again_changes_nothing(client: httpx2.AsyncClient) -> None:
    path = await submit(client)
    first = await client.post(f"{path}/cancel")
    assert (await client.post(f"{path}/cancel")).json() == first.json()


async def test_a_job_that_has_completed_keeps_its_result(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    path, worker = await submit(client), OneWorker(memory_broker)
    await worker.assign_all()
    await worker.run_all()
    await worker.complete_all()
    job = (await client.post(f"{path}/cancel")).json()
    assert job["status"] == "completed"
    assert job["result"]


@pytest.mark.parametrize("job_id", ["job_unknown", "a" * 65, "%2e%2e", "a%0a"])
async def test_what_does_not_exist_cannot_be_cancelled(
    client: httpx2.AsyncClient, job_id: str
) -> None:
    reply = await client.post(f"/v1/jobs/{job_id}/cancel")
    assert reply.status_code == 404


async def test_the_queue_must_be_there(serve: Serve, settings: Settings) -> None:
    async with serve(settings, DownBroker()) as client:
        assert (await client.post(f"/v1/jobs/{SOME_JOB}/cancel")).status_code == 503


async def test_cancelled_jobs_are_counted(client: httpx2.AsyncClient) -> None:
    await client.post(f"{await submit(client)}/cancel")
    assert "preble_pool_jobs_cancelled_total 1.0" in (await client.get("/metrics")).text


async def test_a_deadline_is_kept_and_shown(client: httpx2.AsyncClient) -> None:
    assert await lifetime_s(client, await submit(client, deadline_s=7.5)) == pytest.approx(7.5)
    assert await lifetime_s(client, await submit(client)) is None


@pytest.mark.parametrize(
    ("header", "seconds"), [("90", 90), ("90s", 90), ("0.5", 0.5), ("15m", 900), ("1h30m", 5_400)]
)
async def test_a_header_sets_it_for_jobs_that_have_none(
    client: httpx2.AsyncClient, header: str, seconds: float
) -> None:
    path = await submit(client, cancel_after=header)
    assert await lifetime_s(client, path) == pytest.approx(seconds)
    own = await submit(client, cancel_after=header, deadline_s=3)
    assert await lifetime_s(client, own) == pytest.approx(3)


async def test_the_header_is_of_all_jobs_of_a_list(client: httpx2.AsyncClient) -> None:
    jobs = [{"prompt": "a"}, {"prompt": "b", "deadline_s": 3}]
    reply = await client.post("/v1/jobs", json=jobs, headers={"Cancel-After": "1m"})
    paths = [each["urls"]["self"] for each in reply.json()["data"]]
    assert [await lifetime_s(client, path) for path in paths] == pytest.approx([60, 3])


@pytest.mark.parametrize("header", ["", "soon", "-1", "0", "1m soon", "9999h", "1e3", "\u0661"])
async def test_a_header_that_is_no_time_is_refused(client: httpx2.AsyncClient, header: str) -> None:
    headers = [(b"cancel-after", header.encode())]
    reply = await client.post("/v1/jobs", json={"prompt": "a"}, headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "Cancel-After"
    assert "1h30m" in reply.json()["detail"]


@pytest.mark.parametrize("deadline_s", [0, -1, 1e9, "soon"])
async def test_a_deadline_out_of_range_is_refused(
    client: httpx2.AsyncClient, deadline_s: object
) -> None:
    reply = await client.post("/v1/jobs", json={"prompt": "a", "deadline_s": deadline_s})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "deadline_s"


async def test_a_job_that_is_too_late_says_so(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    path = await submit(client, deadline_s=1e-6)
    token = await memory_broker.lead("scheduler", ttl_s=60)
    assert token
    await memory_broker.reap(token, limit=10)
    job = (await client.get(path)).json()
    assert (job["status"], job["error"]["code"]) == ("expired", "deadline_passed")

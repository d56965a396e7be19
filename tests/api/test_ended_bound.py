"""What clients see of jobs that were dropped to make room for those that ended later."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from api_support import Serve
from queue_support import Hands
from stream_support import HandWorker
from support import completed, record

from preble.broker.memory import MemoryBroker
from preble.clock import unix_s
from preble.config import Settings
from preble_api.job_ids import JobIds

pytestmark = pytest.mark.anyio


@pytest.fixture
def broker() -> MemoryBroker:
    """Keeps nothing but what ended last."""
    return MemoryBroker(max_ended_bytes=1)


@pytest.fixture
async def api(
    serve: Serve, settings: Settings, broker: MemoryBroker
) -> AsyncIterator[httpx2.AsyncClient]:
    async with serve(settings, broker) as made:
        yield made


async def cancelled(api: httpx2.AsyncClient, broker: MemoryBroker) -> str:
    """A job that has ended; others that ended before it are dropped."""
    job_id = str((await api.post("/v1/jobs", json={"prompt": "a"})).json()["id"])
    assert (await api.post(f"/v1/jobs/{job_id}/cancel")).json()["status"] == "cancelled"
    await Hands(broker).reap()
    return job_id


async def test_a_dropped_job_is_gone_and_one_that_never_was_is_not_found(
    api: httpx2.AsyncClient, broker: MemoryBroker
) -> None:
    dropped, kept = await cancelled(api, broker), await cancelled(api, broker)
    assert (await api.get(f"/v1/jobs/{kept}")).status_code == 200
    never = JobIds("default").new(lambda: unix_s() + 60)
    for job_id, status, code in ((dropped, 410, "job_expired"), (never, 404, "job_not_found")):
        for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/retry")):
            reply = await api.request(method, f"/v1/jobs/{job_id}{path}")
            assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


async def test_while_nothing_was_dropped_an_unknown_job_is_not_found(
    api: httpx2.AsyncClient, broker: MemoryBroker
) -> None:
    await cancelled(api, broker)
    old = JobIds("default").new(lambda: unix_s() - 60)
    assert (await api.get(f"/v1/jobs/{old}")).status_code == 404


async def test_who_asks_which_jobs_have_ended_is_told_which_are_missing(
    api: httpx2.AsyncClient, broker: MemoryBroker
) -> None:
    dropped, kept = await cancelled(api, broker), await cancelled(api, broker)
    reply = (await api.get(f"/v1/jobs/ended?ids={dropped},{kept}")).json()
    assert [job["id"] for job in reply["data"]] == [kept]
    assert reply["missing"] == [dropped]


async def test_a_request_under_the_key_of_a_dropped_job_makes_a_new_one(
    api: httpx2.AsyncClient, broker: MemoryBroker
) -> None:
    """As of an expired one: nothing is known of either."""
    headers = {"Idempotency-Key": "report-2026-11-23"}
    first = (await api.post("/v1/jobs", json={"prompt": "a"}, headers=headers)).json()["id"]
    await api.post(f"/v1/jobs/{first}/cancel")
    await cancelled(api, broker)
    again = await api.post("/v1/jobs", json={"prompt": "a"}, headers=headers)
    assert (again.json()["id"], again.json()["status"]) == (first, "waiting")


async def test_what_is_kept_of_ended_jobs_is_a_metric(
    api: httpx2.AsyncClient, broker: MemoryBroker
) -> None:
    await api.post("/v1/jobs", json={"prompt": "a"})
    (job,) = await HandWorker(broker).begin()
    await broker.finish(record(), [completed(job.lease, "x" * 5_000)])
    held = (await broker.counts.stats()).ended_bytes
    assert held > 5_000
    page = (await api.get("/metrics")).text
    assert f"preble_pool_ended_bytes {float(held)}" in page.splitlines()

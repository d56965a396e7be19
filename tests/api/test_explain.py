"""Why a job went where it went, over HTTP."""

import httpx2
import pytest
from api_support import SOME_JOB, DownBroker, OneWorker, Serve

from preble.broker.memory import MemoryBroker
from preble.config import Settings

pytestmark = pytest.mark.anyio


async def test_a_job_is_explained_from_its_wait_to_its_end(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    await client.post("/v1/jobs", json={"prompt": "first"})
    accepted = (await client.post("/v1/jobs", json={"prompt": "second"})).json()
    path = accepted["urls"]["explain"]
    assert path == f"/v1/jobs/{accepted['id']}/explain"

    told = (await client.get(path)).json()
    assert (told["status"], told["verdict"], told["instance"]) == ("waiting", "waiting", None)
    assert (told["waiting"]["position"], told["waiting"]["instances"]) == (1, 0)

    worker = OneWorker(memory_broker)
    await worker.assign_all()
    told = (await client.get(path)).json()
    assert (told["status"], told["verdict"], told["instance"]) == ("assigned", "placed", "gpu0")
    assert (told["policy"], told["reason"], told["waiting"]) == ("e2", "exploit", None)

    await worker.run_all()
    await worker.complete_all()
    told = (await client.get(path)).json()
    assert (told["status"], told["object"]) == ("completed", "job.explanation")
    assert told["hit_tokens"] == {
        "available": 7, "predicted": 5, "resident": 3, "expected": 2, "at_start": 5,
        "delivered": 4,
    }  # fmt: skip
    assert told["verdict"] == "placed_elsewhere"


@pytest.mark.parametrize("name", ["job_ffffffffff0000000000000000000000", "a b"])
async def test_of_nobody_nothing_is_explained(client: httpx2.AsyncClient, name: str) -> None:
    reply = await client.get(f"/v1/jobs/{name}/explain")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "job_not_found")


async def test_while_the_queue_is_down_it_is_a_503(serve: Serve, settings: Settings) -> None:
    async with serve(settings, DownBroker()) as client:
        assert (await client.get(f"/v1/jobs/{SOME_JOB}/explain")).status_code == 503

"""SGLang's routes beside `/generate`: what is told of the pool, and what is not offered."""

from datetime import datetime

import httpx2
import pytest
from api_support import DownBroker, OneWorker, Serve

from preble import __version__
from preble.broker.memory import MemoryBroker
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.config import Settings

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/model_info", "/get_model_info"])
async def test_the_model_is_told_under_both_names(
    client: httpx2.AsyncClient, settings: Settings, path: str
) -> None:
    told = (await client.get(path)).json()
    assert (told["model_path"], told["is_generation"]) == (settings.model, True)


@pytest.mark.parametrize("path", ["/server_info", "/get_server_info"])
async def test_the_pool_is_told_under_both_names(
    client: httpx2.AsyncClient, settings: Settings, path: str
) -> None:
    told = (await client.get(path)).json()
    assert (told["context_length"], told["page_size"], told["version"]) == (
        settings.context_length, settings.page_size, __version__,
    )  # fmt: skip


async def test_loads_say_what_stands_where(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    worker = OneWorker(memory_broker)
    await client.post("/v1/jobs", json=[{"prompt": "a"}] * 3)
    await worker.assign_all()
    await worker.run_all()
    await client.post("/v1/jobs", json=[{"prompt": "a"}] * 2)
    await worker.assign_all()
    await client.post("/v1/jobs", json={"prompt": "a"})

    told = (await client.get("/v1/loads")).json()

    assert told["loads"] == [{
        "dp_rank": 0, "instance": "gpu0", "num_running_reqs": 3, "num_waiting_reqs": 2,
        "num_total_reqs": 5, "max_running_requests": 8, "max_total_num_tokens": 10_000,
    }]  # fmt: skip
    assert told["num_queued_reqs"] == 1
    assert datetime.fromisoformat(told["timestamp"]).tzinfo
    one = (await client.get("/v1/loads?dp_rank=0&include=core&format=json")).json()
    assert one["loads"] == told["loads"]
    assert (await client.get("/v1/loads?dp_rank=1")).json()["loads"] == []


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("format=prometheus", "format"), ("include=spec", "include"), ("dp_rank=-1", "dp_rank"),
        ("dp_rank=x", "dp_rank"), ("nonsense=1", "nonsense"),
    ],
)  # fmt: skip
async def test_what_loads_do_not_offer_is_named(
    client: httpx2.AsyncClient, query: str, named: str
) -> None:
    reply = await client.get(f"/v1/loads?{query}")
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, named)


async def test_loads_of_all_are_not_for_a_tenant(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker
) -> None:
    keys = MemoryApiKeys()
    key, _ = await keys.create("n", tenant="a", scopes=["admin"], life_s=None)
    async with serve(settings, memory_broker, keys) as client:
        headers = {"authorization": f"Bearer {key}"}
        assert (await client.get("/v1/loads", headers=headers)).status_code == 403
        assert (await client.get("/model_info", headers=headers)).status_code == 200


async def test_while_the_queue_is_down_only_loads_need_it(serve: Serve, settings: Settings) -> None:
    async with serve(settings, DownBroker()) as client:
        assert (await client.get("/v1/loads")).status_code == 503
        assert (await client.get("/server_info")).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_flushing_is_refused_with_the_reason(client: httpx2.AsyncClient, method: str) -> None:
    reply = await client.request(method, "/flush_cache", params={"timeout": 60})
    assert (reply.status_code, reply.json()["error"]["code"]) == (501, "not_offered")
    assert "Restart a worker" in reply.json()["error"]["message"]

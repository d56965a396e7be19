"""`/v1/workers`: an operator sees the instances, drains them and resumes them."""

import httpx2
import pytest
from api_support import Serve
from msgspec.structs import replace
from support import record

from preble.broker.memory import MemoryBroker
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.config import Settings
from preble.messages import InstanceId, InstanceReport

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pool(memory_broker: MemoryBroker) -> MemoryBroker:
    """Two instances; gpu0 has told how it goes."""
    for name in ("gpu0", "gpu1"):
        await memory_broker.register(replace(record(name), version="1.2"), lease_s=60)
    report = InstanceReport(kv_used_tokens=2_500, prompt_tokens=100, hit_tokens=75)
    gpu0 = replace(record(), version="1.2")
    await memory_broker.renew(gpu0, [], lease_s=60, report=report)
    return memory_broker


@pytest.mark.usefixtures("pool")
async def test_each_instance_is_listed_with_how_it_stands(client: httpx2.AsyncClient) -> None:
    reply = await client.get("/v1/workers")
    first, second = reply.json()["data"]
    heartbeat_ago_s = first.pop("heartbeat_ago_s")
    assert 0 <= heartbeat_ago_s < 60
    assert first == {
        "instance": "gpu0", "state": "ready", "engine": "noop", "version": "1.2", "slots": 8,
        "queued": 0, "running": 0, "kv_capacity_tokens": 10_000, "kv_use": 0.25, "hit_rate": 0.75,
        "event_lag_batches": 0, "lost_batches": 0, "drained_at": None,
    }  # fmt: skip
    assert (second["instance"], second["kv_use"], second["hit_rate"]) == ("gpu1", None, None)


async def test_an_instance_is_drained_and_resumed(
    client: httpx2.AsyncClient, pool: MemoryBroker
) -> None:
    for _ in range(2):
        reply = await client.post("/v1/workers/gpu0/drain")
        assert (reply.status_code, reply.json()["state"]) == (200, "drained")
        assert reply.json()["drained_at"] is not None
    assert [each.instance_id for each in (await pool.bulletin.load_pool()).instances] == ["gpu1"]
    for _ in range(2):
        reply = await client.post("/v1/workers/gpu0/resume")
        assert (reply.status_code, reply.json()["state"]) == (200, "ready")


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize("action", ["drain", "resume"])
async def test_of_an_unknown_instance_the_known_ones_are_named(
    client: httpx2.AsyncClient, action: str
) -> None:
    reply = await client.post(f"/v1/workers/gpu9/{action}")
    assert reply.status_code == 404
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("instance_not_found", "instance")
    assert error["message"] == "no instance is called 'gpu9'; there are: gpu0, gpu1"


async def test_a_drained_instance_that_is_gone_can_be_resumed_and_is_then_unknown(
    client: httpx2.AsyncClient, pool: MemoryBroker
) -> None:
    await client.post("/v1/workers/gpu0/drain")
    await pool.retire(replace(record(), version="1.2"))
    token = await pool.lead("one", ttl_s=60)
    assert token
    await pool.reap(token, limit=10)
    reply = await client.post("/v1/workers/gpu0/resume")
    assert (reply.status_code, reply.json()["state"]) == (200, "gone")
    assert (await client.post("/v1/workers/gpu0/resume")).status_code == 404


@pytest.fixture
def keys() -> MemoryApiKeys:
    return MemoryApiKeys()


async def test_only_an_operator_may_ask(
    serve: Serve, settings: Settings, pool: MemoryBroker, keys: MemoryApiKeys
) -> None:
    async with serve(replace(settings, auth="keys"), pool, keys) as client:
        for tenant, code in (("a", "wrong_tenant"), (None, "missing_scope")):
            key, _ = await keys.create("n", tenant=tenant, scopes=["submit", "read"], life_s=None)
            headers = {"authorization": f"Bearer {key}"}
            for method, path in (
                ("GET", "/v1/workers"), ("POST", "/v1/workers/gpu0/drain"),
                ("POST", "/v1/workers/gpu9/resume"),
            ):  # fmt: skip
                reply = await client.request(method, path, headers=headers)
                assert (reply.status_code, reply.json()["error"]["code"]) == (403, code)
    assert not any(view.drained_at_s for view in await pool.roster.views())
    assert InstanceId("gpu0") in {view.instance_id for view in await pool.roster.views()}

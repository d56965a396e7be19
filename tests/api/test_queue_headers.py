"""Headers that say where the jobs of a request wait, and how long, wherever jobs are taken."""

from typing import Any, Final

import httpx2
import pytest
from api_support import Serve

from preble.broker.memory import MemoryBroker
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.config import Settings
from preble.messages import WaitingJob

pytestmark = pytest.mark.anyio

MODEL: Final = Settings().model
ROUTES: Final[dict[str, dict[str, Any]]] = {
    "/v1/jobs": {"prompt": "hello"},
    "/generate": {"text": "hello"},
    "/v1/completions": {"model": MODEL, "prompt": "hello"},
    "/v1/chat/completions": {
        "model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}],
    },
    "/v1/responses": {"model": MODEL, "input": "hello", "max_output_tokens": 16},
}  # fmt: skip
EVERYWHERE = pytest.mark.parametrize("path", list(ROUTES))


async def post(client: httpx2.AsyncClient, path: str, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(path, json=ROUTES[path], headers={"Prefer": "respond-async", **named})


async def admitted(broker: MemoryBroker) -> WaitingJob:
    [job] = await broker.peek(10)
    return job


@EVERYWHERE
async def test_jobs_wait_where_the_headers_say(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, path: str
) -> None:
    reply = await post(client, path, X_Preble_Tenant="bob", X_Preble_Priority="high")
    assert reply.status_code == 202, reply.text
    assert (await admitted(memory_broker)).ingress.endswith(".high.bob")


@EVERYWHERE
async def test_jobs_have_the_deadline_of_the_header(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, path: str
) -> None:
    await post(client, path, Cancel_After="5s")
    assert (await admitted(memory_broker)).spec.deadline_s == 5


@EVERYWHERE
@pytest.mark.parametrize("header", ["X-Preble-Priority", "X-Preble-Tenant", "Cancel-After"])
async def test_a_header_that_is_wrong_is_refused(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, path: str, header: str
) -> None:
    reply = await post(client, path, **{header: "no such!"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, header)
    assert await memory_broker.peek(10) == []


async def test_the_header_counts_over_the_body(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    body = {**ROUTES["/v1/completions"], "tenant": "carol", "priority": "batch"}
    headers = {"X-Preble-Tenant": "bob", "X-Preble-Priority": "high", "Prefer": "respond-async"}
    await client.post("/v1/completions", json=body, headers=headers)
    assert (await admitted(memory_broker)).ingress.endswith(".high.bob")


@EVERYWHERE
async def test_a_tenants_key_names_no_other_tenant(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker, path: str
) -> None:
    api_keys = MemoryApiKeys()
    key, _ = await api_keys.create("k", tenant="alice", scopes=["submit"], life_s=None)
    async with serve(settings, memory_broker, api_keys) as client:
        reply = await post(client, path, Authorization=f"Bearer {key}", X_Preble_Tenant="bob")
    assert reply.status_code == 403
    assert await memory_broker.peek(10) == []

"""SGLang's `/abort_request`: jobs are ended by the names that their clients know."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from uuid import uuid4

import httpx2
import pytest
from api_support import OneWorker, Serve

from preble.broker.api_keys import Scope
from preble.broker.memory import MemoryBroker
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.config import Settings
from preble_api.routes import abort

pytestmark = pytest.mark.anyio

NOT_WAITING = {"prefer": "respond-async"}
Key = Callable[[str | None, Sequence[Scope]], Awaitable[dict[str, str]]]


@pytest.fixture
def keys() -> MemoryApiKeys:
    return MemoryApiKeys()


@pytest.fixture
async def locked(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker, keys: MemoryApiKeys
) -> AsyncIterator[httpx2.AsyncClient]:
    """An api that has keys."""
    await keys.create("first", tenant="nobody", scopes=["read"], life_s=None)
    async with serve(settings, memory_broker, keys) as client:
        yield client


@pytest.fixture
def key(keys: MemoryApiKeys) -> Key:
    async def made(tenant: str | None, scopes: Sequence[Scope]) -> dict[str, str]:
        text, _ = await keys.create("n", tenant=tenant, scopes=scopes, life_s=None)
        return {"authorization": f"Bearer {text}"}

    return made


async def generate(
    client: httpx2.AsyncClient, headers: dict[str, str] | None = None, **body: object
) -> str:
    """The ids of its jobs."""
    reply = await client.post(
        "/generate", json={"text": "a"} | body, headers=NOT_WAITING | (headers or {})
    )
    assert reply.status_code == 202, reply.text
    return reply.headers["x-preble-job"]


async def status(
    client: httpx2.AsyncClient, job_id: str, headers: dict[str, str] | None = None
) -> str:
    return str((await client.get(f"/v1/jobs/{job_id}", headers=headers)).json()["status"])


@pytest.mark.parametrize("is_running", [False, True])
async def test_a_job_is_ended_by_its_id_or_its_uuid(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, *, is_running: bool
) -> None:
    rid = str(uuid4())
    named, other = await generate(client, rid=rid), await generate(client)
    if is_running:
        worker = OneWorker(memory_broker)
        await worker.assign_all()
        await worker.run_all()
    for name, job_id in ((rid, named), (other, other)):
        reply = await client.post("/abort_request", json={"rid": name, "abort_all": False})
        assert (reply.status_code, reply.json()["aborted"]) == (200, 1)
        assert await status(client, job_id) == "cancelled"
        again = await client.post("/abort_request", json={"rid": name})
        assert again.json() == reply.json()


async def test_of_a_list_one_is_ended_by_its_number(client: httpx2.AsyncClient) -> None:
    rid = uuid4().hex
    first, second = (await generate(client, text=["a", "b"], rid=rid)).split(", ")
    reply = await client.post("/abort_request", json={"rid": f"{rid}_1"})
    assert reply.status_code == 200
    assert (await status(client, first), await status(client, second)) == ("waiting", "cancelled")


async def test_what_has_ended_stays_and_is_not_counted(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    job_id = await generate(client)
    worker = OneWorker(memory_broker)
    await worker.assign_all()
    await worker.run_all()
    await worker.complete_all()
    reply = await client.post("/abort_request", json={"rid": job_id})
    assert (reply.status_code, reply.json()["aborted"]) == (200, 0)
    assert await status(client, job_id) == "completed"


async def test_names_that_are_nobodys_are_told(client: httpx2.AsyncClient) -> None:
    await generate(client, rid="mine")
    for rid in ("mine", str(uuid4()), "job_ffffffffff0000000000000000000000", "a b"):
        reply = await client.post("/abort_request", json={"rid": rid})
        assert (reply.status_code, reply.json()["error"]["param"]) == (404, "rid")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "rid"), ({"rid": ""}, "rid"), ({"rid": "a", "abort_all": True}, "rid"),
        ({"rid": 5}, "rid"), ({"nonsense": 1}, "nonsense"), ({"abort_all": "x"}, "abort_all"),
    ],
)  # fmt: skip
async def test_wrong_bodies_are_named_and_end_nothing(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, body: object, named: str
) -> None:
    await generate(client)
    reply = await client.post("/abort_request", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, named)
    assert (await memory_broker.counts.stats()).waiting == 1


async def test_anothers_job_is_unknown_by_any_name(locked: httpx2.AsyncClient, key: Key) -> None:
    owner, stranger = await key("a", ["submit", "read"]), await key("b", ["submit", "read"])
    rid = str(uuid4())
    job_id = await generate(locked, owner, rid=rid)
    for name in (rid, job_id):
        reply = await locked.post("/abort_request", json={"rid": name}, headers=stranger)
        assert reply.status_code == 404
    assert await status(locked, job_id, headers=owner) == "waiting"


async def test_the_operator_says_whose_rid_it_is(locked: httpx2.AsyncClient, key: Key) -> None:
    owner, operator = await key("a", ["submit", "read"]), await key(None, ["admin"])
    rid = str(uuid4())
    job_id = await generate(locked, owner, rid=rid)
    unnamed = await locked.post("/abort_request", json={"rid": rid}, headers=operator)
    assert unnamed.status_code == 404
    named = operator | {"x-preble-tenant": "a"}
    assert (await locked.post("/abort_request", json={"rid": rid}, headers=named)).is_success
    assert await status(locked, job_id, headers=owner) == "cancelled"


async def test_all_are_ended_wherever_they_stand_but_not_anothers(
    locked: httpx2.AsyncClient, key: Key, memory_broker: MemoryBroker
) -> None:
    a, b = await key("a", ["submit", "read", "admin"]), await key("b", ["submit", "read"])
    mine = [await generate(locked, a)]
    worker = OneWorker(memory_broker)
    await worker.assign_all()
    await worker.run_all()
    mine += [await generate(locked, a)]
    await worker.assign_all()
    mine += [await generate(locked, a)]
    theirs = await generate(locked, b)

    refused = await locked.post("/abort_request", json={"abort_all": True}, headers=b)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "missing_scope")
    reply = await locked.post("/abort_request", json={"abort_all": True, "rid": ""}, headers=a)

    assert reply.json() == {"aborted": 3, "has_more": False}
    assert [await status(locked, each, headers=a) for each in mine] == ["cancelled"] * 3
    assert await status(locked, theirs, headers=b) == "waiting"


async def test_ending_all_is_bounded_and_goes_on_when_asked_again(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abort, "MOST_PAGES", 2)
    await client.post("/v1/jobs", json=[{"prompt": "a"}] * 250)
    first = await client.post("/abort_request", json={"abort_all": True})
    assert first.json() == {"aborted": 200, "has_more": True}
    assert (await memory_broker.counts.stats()).waiting == 50
    await client.post("/abort_request", json={"abort_all": True})
    assert (await memory_broker.counts.stats()).waiting == 0

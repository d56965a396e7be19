"""Tenants do not exist for each other: on every route that the api declares, new ones too."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from api_support import Serve
from batch_support import until
from fastapi.routing import APIRoute
from msgspec.structs import replace

from preble.broker.api_keys import Scope
from preble.broker.memory import MemoryBroker
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.config import Settings
from preble.tokenizer import Tokenizer
from preble_api.app import create_app
from preble_api.gate import OPEN_PATHS

pytestmark = pytest.mark.anyio

PROMPT = {"prompt": "What nobody else may know"}
BOTH: Sequence[Scope] = ("submit", "read")
CHAT = {"model": "preble-emulated", "messages": [{"role": "user", "content": "a"}]}
LINE = (
    '{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": '
    '"preble-emulated", "messages": [{"role": "user", "content": "a"}]}}\n'
)


@dataclass
class House:
    """An api with two tenants and an operator."""

    client: httpx2.AsyncClient
    keys: MemoryApiKeys
    routes: list[tuple[str, str]]

    async def key(self, tenant: str | None, scopes: Sequence[Scope] = BOTH) -> dict[str, str]:
        """A new key of a tenant, as headers."""
        key, _ = await self.keys.create("n", tenant=tenant, scopes=scopes, life_s=None)
        return {"authorization": f"Bearer {key}"}

    def guarded(self) -> Iterator[tuple[str, str]]:
        """Method and path of every route that is not open."""
        return (route for route in self.routes if route[1] not in OPEN_PATHS)


@pytest.fixture
async def house(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker, tokenizer: Tokenizer,
    tmp_path: Path,
) -> AsyncIterator[House]:  # fmt: skip
    settings = replace(settings, auth="keys", files_dir=str(tmp_path / "files"))
    keys = MemoryApiKeys()
    listed = create_app(settings, memory_broker, tokenizer, api_keys=keys)
    routes = [
        (method, route.path)
        for route in listed.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]
    async with serve(settings, memory_broker, keys) as client:
        yield House(client, keys, routes)


async def made_job(client: httpx2.AsyncClient, key: dict[str, str]) -> str:
    reply = await client.post("/v1/jobs", json=PROMPT, headers=key)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


async def made_response(client: httpx2.AsyncClient, key: dict[str, str]) -> str:
    body = {"model": "preble-emulated", "input": "a", "background": True}
    reply = await client.post("/v1/responses", json=body, headers=key)
    assert reply.is_success, reply.text
    return str(reply.json()["id"])


async def made_file(client: httpx2.AsyncClient, key: dict[str, str]) -> str:
    files = {"file": ("in.jsonl", LINE.encode(), "application/jsonl")}
    reply = await client.post("/v1/files", data={"purpose": "batch"}, files=files, headers=key)
    assert reply.is_success, reply.text
    return str(reply.json()["id"])


async def made_batch(client: httpx2.AsyncClient, key: dict[str, str]) -> str:
    body = {
        "input_file_id": await made_file(client, key), "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }  # fmt: skip
    reply = await client.post("/v1/batches", json=body, headers=key)
    assert reply.is_success, reply.text
    return str(reply.json()["id"])


Make = Callable[[httpx2.AsyncClient, dict[str, str]], Awaitable[str]]

MADE: dict[str, tuple[Make, str]] = {
    "{job_id}": (made_job, "job_ffffffffff0000000000000000000000"),
    "{response_id}": (made_response, "resp_ffffffffff0000000000000000000000"),
    "{file_id}": (made_file, "file-00000000000000000000000000000000"),
    "{batch_id}": (made_batch, "batch_00000000000000000000000000000000"),
}
"""For each parameter that a path may have: how a tenant gets such an id, and one of nobody."""

OF_THE_POOL = {"{model:path}", "{instance}"}
"""Parameters that name what is no tenant's."""


def of_something(house: House) -> Iterator[tuple[str, str, str]]:
    """Method, path and parameter of every route that names something."""
    for method, path in house.guarded():
        names = [part for part in path.split("/") if part.startswith("{")]
        assert len(names) <= 1, f"teach this test {path}"
        for name in names:
            assert name in MADE or name in OF_THE_POOL, f"teach this test how to make {name}"
            if name in OF_THE_POOL:
                continue
            yield method, path, name


async def test_without_a_key_there_is_no_way_in(house: House) -> None:
    guarded = list(house.guarded())
    assert ("POST", "/v1/jobs") in guarded
    for method, path in guarded:
        reply = await house.client.request(method, path.replace("{", "").replace("}", ""))
        assert (method, path, reply.status_code) == (method, path, 401)


async def test_without_its_scope_a_key_opens_nothing(house: House) -> None:
    reader, submitter = await house.key("a", ["read"]), await house.key("a", ["submit"])
    for method, path in house.guarded():
        key = submitter if method in {"GET", "HEAD"} else reader
        filled = path.replace("{", "").replace("}", "")
        reply = await house.client.request(method, filled, headers=key)
        assert (method, path, reply.status_code) == (method, path, 403)
        assert reply.json()["error"]["code"] == "missing_scope"


async def test_what_is_anothers_is_unknown_in_the_words_of_what_is_nobodys(house: House) -> None:
    owner, stranger = await house.key("a"), await house.key("b")
    checked = 0
    for method, path, name in of_something(house):
        make, nobodys = MADE[name]
        anothers = await make(house.client, owner)
        replies = [
            await house.client.request(method, path.replace(name, each), headers=stranger)
            for each in (anothers, nobodys)
        ]
        told = [
            (method, path, reply.status_code, reply.json()["error"]["code"],
             reply.json()["error"]["message"].replace(each, "ID"))
            for reply, each in zip(replies, (anothers, nobodys), strict=True)
        ]  # fmt: skip
        assert told[0] == told[1]
        assert told[0][:3] == (method, path, 404)
        checked += 1
    assert checked >= 4


async def test_who_owns_it_is_not_told_that_it_is_unknown(house: House) -> None:
    """Or the test above would hold for routes that find nothing at all."""
    owner, operator = await house.key("a"), await house.key(None, ["admin"])
    for method, path, name in of_something(house):
        if path.endswith("/events"):
            continue  # goes on until the job ends
        for key in (owner, operator):
            made = await MADE[name][0](house.client, owner)
            reply = await house.client.request(method, path.replace(name, made), headers=key)
            assert (method, path, reply.status_code) != (method, path, 404)


async def test_cancelling_and_retrying_anothers_job_changes_nothing(house: House) -> None:
    owner, stranger = await house.key("a"), await house.key("b")
    job_id = await made_job(house.client, owner)
    await house.client.post(f"/v1/jobs/{job_id}/cancel", headers=stranger)
    shown = await house.client.get(f"/v1/jobs/{job_id}", headers=owner)
    assert shown.json()["status"] == "waiting"


async def test_lists_hold_only_what_is_ones_own(house: House) -> None:
    owner, stranger = await house.key("a"), await house.key("b")
    operator = await house.key(None, ["admin"])
    job_id = await made_job(house.client, owner)

    async def listed(key: dict[str, str], query: str = "") -> list[str]:
        reply = await house.client.get(f"/v1/jobs{query}", headers=key)
        assert reply.status_code == 200
        return [job["id"] for job in reply.json()["data"]]

    assert await listed(owner) == await listed(owner, "?tenant=a") == [job_id]
    assert await listed(stranger) == []
    assert await listed(operator) == await listed(operator, "?tenant=a") == [job_id]
    refused = await house.client.get("/v1/jobs?tenant=a", headers=stranger)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "wrong_tenant")


async def test_nothing_that_can_be_listed_names_what_is_anothers(house: House) -> None:
    owner, stranger = await house.key("a"), await house.key("b")
    made = [await make(house.client, owner) for make, _ in MADE.values()]
    told = ""
    for method, path in house.guarded():
        if method == "GET" and "{" not in path:
            reply = await house.client.request(method, path, headers=stranger)
            assert not [each for each in made if each in reply.text], path
            told += (await house.client.request(method, path, headers=owner)).text
    assert made[0] in told


async def test_batch_of_anothers_file_is_one_of_a_file_that_is_not_there(house: House) -> None:
    owner, stranger = await house.key("a"), await house.key("b")
    replies: list[tuple[int, str]] = []
    for file_id in (await made_file(house.client, owner), MADE["{file_id}"][1]):
        body = {
            "input_file_id": file_id, "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }  # fmt: skip
        reply = await house.client.post("/v1/batches", json=body, headers=stranger)
        message = reply.json()["error"]["message"].replace(file_id, "ID")
        replies.append((reply.status_code, message))
    assert replies[0] == replies[1]
    assert replies[0][0] in {400, 404}


async def test_key_submits_for_its_tenant_and_no_other(
    house: House, memory_broker: MemoryBroker
) -> None:
    key = await house.key("a")

    async def submit(body: object, **headers: str) -> httpx2.Response:
        return await house.client.post("/v1/jobs", json=body, headers=key | headers)

    reply = await submit(PROMPT)
    shown = await house.client.get(reply.headers["location"], headers=key)
    assert shown.json()["tenant"] == "a"
    assert (await submit(PROMPT | {"tenant": "a"})).status_code == 202
    assert (await submit(PROMPT | {"tenant": None})).status_code == 202
    refused = await submit([PROMPT, PROMPT | {"tenant": "b"}])
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "wrong_tenant")
    assert refused.json()["error"]["param"] == "jobs[1].tenant"
    generate = await house.client.post(
        "/generate", json={"text": "a"}, headers=key | {"X-Preble-Tenant": "b"}
    )
    assert generate.status_code == 403
    assert (await memory_broker.counts.stats()).waiting == 3


async def test_operator_submits_for_anybody(house: House) -> None:
    operator = await house.key(None, ["admin"])
    for tenant in ("a", "b"):
        body = PROMPT | {"tenant": tenant}
        reply = await house.client.post("/v1/jobs", json=body, headers=operator)
        shown = await house.client.get(reply.headers["location"], headers=operator)
        assert shown.json()["tenant"] == tenant


async def upload(
    house: House, key: dict[str, str], header: str | None = None, field: str | None = None
) -> httpx2.Response:
    """Put a file, for the tenant of a header or of a field of the form."""
    headers = key | ({"X-Preble-Tenant": header} if header else {})
    form = {"purpose": "batch"} | ({"tenant": field} if field else {})
    files = {"file": ("in.jsonl", LINE.encode())}
    return await house.client.post("/v1/files", data=form, files=files, headers=headers)


@pytest.mark.parametrize("field", [None, "b"])
async def test_operator_uploads_for_whom_the_header_names(house: House, field: str | None) -> None:
    """As with jobs, it counts over what the form says."""
    operator = await house.key(None, ["admin"])
    reply = await upload(house, operator, "a", field)
    assert reply.status_code == 200
    path = f"/v1/files/{reply.json()['id']}"
    assert (await house.client.get(path, headers=await house.key("a"))).status_code == 200
    assert (await house.client.get(path, headers=await house.key("b"))).status_code == 404
    asked = {
        "input_file_id": reply.json()["id"], "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }  # fmt: skip
    batch = await house.client.post("/v1/batches", json=asked, headers=operator)
    path = f"/v1/batches/{batch.json()['id']}"
    assert (await house.client.get(path, headers=await house.key("a"))).status_code == 200
    assert (await house.client.get(path, headers=await house.key("b"))).status_code == 404


async def test_tenant_uploads_for_no_other(house: House) -> None:
    key = await house.key("a")
    assert (await upload(house, key, "a")).status_code == 200
    for named in ({"header": "b"}, {"field": "b"}):
        refused = await upload(house, key, **named)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "wrong_tenant")
    listed = await house.client.get("/v1/files", headers=await house.key("b"))
    assert listed.json()["data"] == []


async def test_upload_with_a_header_that_is_wrong_is_refused(house: House) -> None:
    refused = await upload(house, await house.key(None, ["admin"]), "no such!")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "X-Preble-Tenant")


async def test_idempotency_keys_of_two_tenants_do_not_meet(house: House) -> None:
    owner, stranger = await house.key("a"), await house.key("b")
    named = {"idempotency-key": "nightly"}
    first = await house.client.post("/v1/jobs", json=PROMPT, headers=owner | named)
    other = await house.client.post("/v1/jobs", json=PROMPT, headers=stranger | named)
    again = await house.client.post("/v1/jobs", json=PROMPT, headers=owner | named)
    changed = await house.client.post("/v1/jobs", json={"prompt": "x"}, headers=stranger | named)
    assert (first.status_code, other.status_code, changed.status_code) == (202, 202, 422)
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]


async def test_tenants_share_no_kv_cache_and_may_separate_further(
    house: House, memory_broker: MemoryBroker
) -> None:
    ids = {"input_ids": [1] * 64}

    async def keys_of(key: dict[str, str], salt: str | None = None) -> bytes:
        body = ids | ({"cache_salt": salt} if salt else {})
        reply = await house.client.post("/v1/jobs", json=body, headers=key)
        assert reply.status_code == 202
        waiting = await memory_broker.peek(1_000)
        return next(job.block_keys for job in waiting if job.job_id == reply.json()["id"])

    a, b = await house.key("a"), await house.key("b")
    default, operator = await house.key("default"), await house.key(None)
    kinds = [(a, None), (a, "x"), (b, None), (b, "x"), (default, None), (operator, None),
             (operator, "x")]  # fmt: skip
    seen = [await keys_of(*kind) for kind in kinds]
    assert len(set(seen)) == len(kinds)
    assert [await keys_of(*kind) for kind in kinds] == seen
    assert await keys_of(await house.key("a")) == seen[0]  # another key of the tenant


@pytest.mark.parametrize("salt", ["", "a b", "x" * 129, "a\n", "\0", "é", 5])
async def test_wrong_salts_are_named(house: House, salt: object) -> None:
    key = await house.key("a")
    reply = await house.client.post("/v1/jobs", json=PROMPT | {"cache_salt": salt}, headers=key)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "cache_salt")


async def test_lines_of_a_batch_share_their_tenants_kv_cache_alone(
    house: House, memory_broker: MemoryBroker
) -> None:
    prompt = "What nobody else may know " * 20
    body = {"model": "preble-emulated", "prompt": prompt}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/completions", "body": body}

    async def keys_of_line(key: dict[str, str]) -> bytes:
        before = {job.job_id for job in await memory_broker.peek(1_000)}
        files = {"file": ("in.jsonl", json.dumps(line).encode())}
        form = {"purpose": "batch"}
        file = await house.client.post("/v1/files", data=form, files=files, headers=key)
        asked = {
            "input_file_id": file.json()["id"], "endpoint": "/v1/completions",
            "completion_window": "24h",
        }  # fmt: skip
        await house.client.post("/v1/batches", json=asked, headers=key)

        async def is_waiting() -> bool:
            return len(await memory_broker.peek(1_000)) > len(before)

        await until(is_waiting)
        waiting = await memory_broker.peek(1_000)
        return next(job.block_keys for job in waiting if job.job_id not in before)

    a, b = await house.key("a"), await house.key("b")
    of_a, of_b = await keys_of_line(a), await keys_of_line(b)
    reply = await house.client.post("/v1/jobs", json={"prompt": prompt}, headers=a)
    waiting = await memory_broker.peek(1_000)
    own = next(job.block_keys for job in waiting if job.job_id == reply.json()["id"])
    assert of_a == own != of_b

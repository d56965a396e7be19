"""The end of a batch is told, once it can be read."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import openai
import pytest
from api_support import Serve
from batch_support import COMPLETIONS, ENDED, lines, until
from msgspec.structs import replace
from webhook_api_support import Rounds
from webhook_support import SECRET, Receiver

from preble.broker.memory import MemoryBroker
from preble.config import Settings
from preble_api.batches.store import BatchStore
from preble_api.webhooks.deliveries import Deliveries

pytestmark = pytest.mark.anyio


@pytest.fixture
def signing(settings: Settings, tmp_path: Path) -> Settings:
    return replace(settings, webhook_secret=SECRET, files_dir=str(tmp_path / "files"))


async def begin(api: httpx2.AsyncClient, data: bytes, url: str) -> str:
    files = {"file": ("in.jsonl", data)}
    uploaded = await api.post("/v1/files", data={"purpose": "batch"}, files=files)
    asked = {
        "input_file_id": uploaded.json()["id"], "endpoint": COMPLETIONS,
        "completion_window": "24h", "webhook": {"url": url},
    }  # fmt: skip
    reply = await api.post("/v1/batches", json=asked)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


async def ended(api: httpx2.AsyncClient, batch_id: str) -> str:
    async def has_ended() -> bool:
        return (await api.get(f"/v1/batches/{batch_id}")).json()["status"] in ENDED

    await until(has_ended)
    return str((await api.get(f"/v1/batches/{batch_id}")).json()["status"])


async def told(hook: Receiver, rounds: Rounds, times: int = 1) -> None:
    async def has_come() -> bool:
        await rounds()
        return len(hook.got) >= times

    await until(has_come)


async def test_the_openai_client_verifies_what_comes(
    api: httpx2.AsyncClient, hook: Receiver, rounds: Rounds
) -> None:
    batch_id = await begin(api, b"no JSON\n", hook.url)
    assert await ended(api, batch_id) == "failed"
    await told(hook, rounds)
    [got] = hook.got
    with openai.OpenAI(api_key="none", webhook_secret=SECRET) as client:
        event = client.webhooks.unwrap(got.body, got.headers)
    assert event.type == "batch.failed"
    assert event.data.id == batch_id


async def test_cancelled_is_told(api: httpx2.AsyncClient, hook: Receiver, rounds: Rounds) -> None:
    batch_id = await begin(api, lines(3), hook.url)
    await api.post(f"/v1/batches/{batch_id}/cancel")
    assert await ended(api, batch_id) == "cancelled"
    await told(hook, rounds)
    assert json.loads(hook.got[0].body)["type"] == "batch.cancelled"


@pytest.fixture
async def unsigned(
    serve: Serve, signing: Settings, memory_broker: MemoryBroker
) -> AsyncIterator[httpx2.AsyncClient]:
    async with serve(replace(signing, webhook_secret=""), memory_broker) as made:
        yield made


async def test_without_a_secret_it_is_refused(unsigned: httpx2.AsyncClient) -> None:
    asked = {
        "input_file_id": "file-1", "endpoint": COMPLETIONS, "completion_window": "24h",
        "webhook": {"url": "https://receiver.example"},
    }  # fmt: skip
    reply = await unsigned.post("/v1/batches", json=asked)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "webhook")


async def test_a_driver_that_died_before_it_told_leaves_that_to_the_next(
    serve: Serve, signing: Settings, memory_broker: MemoryBroker, hook: Receiver, rounds: Rounds,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The same event, should it have been told of already."""

    async def deliver_nothing(_: Deliveries) -> None:
        return

    def not_closed(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(Deliveries, "run", deliver_nothing)
    with monkeypatch.context() as broken:
        broken.setattr(BatchStore, "close", not_closed)
        async with serve(signing, memory_broker) as first:
            batch_id = await begin(first, b"no JSON\n", hook.url)
            await ended(first, batch_id)
            await told(hook, rounds)
    async with serve(signing, memory_broker):
        await told(hook, rounds, times=2)
    assert len({got.headers["webhook-id"] for got in hook.got}) == 1

"""What a webhook tells, to a real receiver on loopback, and who verifies it."""

import asyncio
import json

import httpx2
import openai
import pytest
from api_support import OneWorker, Serve
from msgspec.structs import replace
from webhook_api_support import Rounds, cancelled, delivered, submit, webhook_of
from webhook_support import OTHER_SECRET, SECRET, Receiver

from preble.broker.memory import MemoryBroker
from preble.clock import ManualClock
from preble.config import Settings
from preble.messages import JobFailure

pytestmark = pytest.mark.anyio


def sdk(secret: str) -> openai.OpenAI:
    return openai.OpenAI(api_key="none", webhook_secret=secret)


async def test_the_openai_client_verifies_what_comes(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, hook: Receiver, rounds: Rounds
) -> None:
    job_id = await submit(api, hook.url)
    assert await webhook_of(api, job_id) == {"status": "waiting", "attempts": 0, "last_error": ""}
    worker = OneWorker(memory_broker)
    await worker.assign_all()
    await worker.run_all()
    await worker.complete_all()
    await rounds()
    [got] = hook.got
    with sdk(SECRET) as client:
        event = client.webhooks.unwrap(got.body, got.headers)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(got.body.replace(b"completed", b"cancelled"), got.headers)
    assert event.id == got.headers["webhook-id"]
    assert json.loads(got.body) == {
        "id": event.id, "object": "event", "type": "job.completed", "data": {"id": job_id},
        "created_at": event.created_at,
    }  # fmt: skip
    assert event.id.startswith("evt_")
    assert got.path == "/hook?token=of-the-receiver"
    assert got.headers["host"] == hook.place
    assert got.headers["content-type"] == "application/json"
    assert await webhook_of(api, job_id) == {"status": "delivered", "attempts": 1, "last_error": ""}
    assert rounds.counted("delivered") == 1
    await rounds()
    assert len(hook.got) == 1


async def test_each_end_is_told(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, hook: Receiver, rounds: Rounds,
    clock: ManualClock,
) -> None:  # fmt: skip
    worker = OneWorker(memory_broker)
    await submit(api, hook.url)
    await worker.assign_all()
    await worker.run_all()
    await worker.fail_all(JobFailure("engine_refused", "too hot"))
    await cancelled(api, hook.url)
    late = {"prompt": "a", "webhook": {"url": hook.url}, "deadline_s": 5}
    await api.post("/v1/jobs", json=[late])
    clock.advance(6)
    token = await memory_broker.lead("scheduler", ttl_s=60)
    assert token
    await memory_broker.reap(token, limit=10)
    await rounds()
    types = sorted(json.loads(got.body)["type"] for got in hook.got)
    assert types == ["job.cancelled", "job.expired", "job.failed"]
    assert len({got.headers["webhook-id"] for got in hook.got}) == 3


@pytest.mark.parametrize(
    ("body", "ended"), [({}, "response.completed"), ({"cancel": True}, "response.cancelled")]
)
async def test_a_response_is_told_as_one(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, hook: Receiver, rounds: Rounds,
    body: dict[str, bool], ended: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("preble_api.openai.responses.CUT_SHORT", "never")
    await tell_a_response(api, memory_broker, hook, rounds, is_cancelled="cancel" in body)
    with sdk(SECRET) as client:
        event = client.webhooks.unwrap(hook.got[0].body, hook.got[0].headers)
    assert event.type == ended


async def test_a_response_that_was_cut_short_is_told_so(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, hook: Receiver, rounds: Rounds
) -> None:
    response_id = await tell_a_response(api, memory_broker, hook, rounds)
    event = json.loads(hook.got[0].body)
    assert (event["type"], event["data"]) == ("response.incomplete", {"id": response_id})


async def tell_a_response(
    api: httpx2.AsyncClient, broker: MemoryBroker, hook: Receiver, rounds: Rounds, *,
    is_cancelled: bool = False,
) -> str:  # fmt: skip
    model = (await api.get("/v1/models")).json()["data"][0]["id"]
    reply = await api.post(
        "/v1/responses",
        json={"model": model, "input": "a", "background": True, "webhook": {"url": hook.url}},
    )
    response_id = str(reply.json()["id"])
    worker = OneWorker(broker)
    await worker.assign_all()
    if is_cancelled:
        await api.post(f"/v1/responses/{response_id}/cancel")
    else:
        await worker.run_all()
        await worker.complete_all()
    await rounds()
    return response_id


async def test_a_chat_that_is_answered_later_is_told_as_a_job(
    api: httpx2.AsyncClient, hook: Receiver, rounds: Rounds
) -> None:
    model = (await api.get("/v1/models")).json()["data"][0]["id"]
    reply = await api.post(
        "/v1/chat/completions", headers={"prefer": "respond-async"},
        json={"model": model, "messages": [{"role": "user", "content": "a"}],
              "webhook": {"url": hook.url}},
    )  # fmt: skip
    assert reply.status_code == 202
    await api.post(reply.json()["urls"]["cancel"])
    await rounds()
    assert json.loads(hook.got[0].body)["data"] == {"id": reply.json()["id"]}


async def test_during_a_rotation_old_and_new_secret_verify(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, hook: Receiver
) -> None:
    await cancelled(api, hook.url)
    both = Rounds(memory_broker, secret=f"{OTHER_SECRET} {SECRET}")
    await both()
    await both.close()
    [got] = hook.got
    assert got.headers["webhook-signature"].count("v1,") == 2
    for secret in (SECRET, OTHER_SECRET):
        with sdk(secret) as client:
            assert client.webhooks.unwrap(got.body, got.headers).id == got.headers["webhook-id"]


async def test_the_api_delivers_by_itself(serve: Serve, signing: Settings, hook: Receiver) -> None:
    broker = MemoryBroker()
    settings = replace(signing, webhook_allow=hook.place)
    async with serve(settings, broker) as api, asyncio.timeout(30):
        job_id = await cancelled(api, hook.url)
        await delivered(api, job_id)
        page = (await api.get("/metrics")).text
    assert 'preble_webhook_deliveries_total{result="delivered"} 1.0' in page

"""Where a webhook may not lead, and settings and requests that are refused."""

import asyncio
import json
import logging

import httpx2
import pytest
from api_support import Serve
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from webhook_api_support import Rounds, cancelled, webhook_of
from webhook_support import SECRET, Receiver, receiver

from preble.broker.memory import MemoryBroker
from preble.config import Settings
from preble.errors import ConfigError, InvalidJob
from preble.metrics import ApiMetrics
from preble_api.batches.validation import LineRules
from preble_api.openai.endpoints import ENDPOINTS
from preble_api.webhooks.addresses import Guard
from preble_api.webhooks.deliveries import (
    Deliveries,
)
from preble_api.webhooks.posting import Poster
from preble_api.webhooks.signing import signing_keys

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "[::ffff:7f00:1]"]
)
async def test_loopback_is_refused_and_recorded_whatever_it_is_called(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, hook: Receiver, host: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    strict = Rounds(memory_broker, allowed="")
    job_id = await cancelled(api, f"http://{host}:{hook.port}/hook?token=secret")
    with caplog.at_level(logging.WARNING):
        await strict()
    await strict.close()
    assert hook.got == []
    state = await webhook_of(api, job_id)
    assert (state["status"], state["attempts"]) == ("refused", 1)
    assert "not public" in state["last_error"]
    assert f"http://{host}:{hook.port}" in caplog.text
    assert "secret" not in caplog.text
    assert strict.counted("refused") == 1
    assert [letter.status for letter in await memory_broker.webhooks.dead(10)] == ["refused"]


async def test_a_receiver_inside_is_allowed_by_host_and_port_alone(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, hook: Receiver
) -> None:
    allowing = Rounds(memory_broker, allowed=f"localhost:{hook.port}")
    by_name = await cancelled(api, f"http://localhost:{hook.port}/")
    by_address = await cancelled(api, hook.url)
    await allowing()
    await allowing.close()
    assert (await webhook_of(api, by_name))["status"] == "delivered"
    assert (await webhook_of(api, by_address))["status"] == "refused"
    assert hook.got[0].headers["host"] == f"localhost:{hook.port}"


async def test_a_name_that_changes_after_its_lookup_gains_nothing(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, hook: Receiver
) -> None:
    """Looked up once for each attempt, and connected to the answer: here only that leads there."""
    asked = list[str]()

    def look_up(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    poster = Poster(Guard("127.0.0.0/8", look_up))
    deliveries = Deliveries(
        memory_broker, poster, signing_keys(SECRET), ApiMetrics(CollectorRegistry())
    )
    job_id = await cancelled(api, f"http://no-such-name.invalid:{hook.port}/")
    async with asyncio.TaskGroup() as tasks:
        await deliveries.begin_due(tasks)
    await poster.close()
    assert asked == ["no-such-name.invalid"]
    assert (await webhook_of(api, job_id))["status"] == "delivered"


async def test_no_redirect_is_followed(
    api: httpx2.AsyncClient, hook: Receiver, rounds: Rounds
) -> None:
    with receiver() as inside:
        hook.answers, hook.location = [302, 307], inside.url
        job_id = await cancelled(api, hook.url)
        await rounds()
        assert inside.got == []
    state = await webhook_of(api, job_id)
    assert state["status"] == "pending"
    assert state["last_error"] == "answered 302; redirects are not followed"


async def test_no_proxy_of_the_environment_is_asked(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, hook: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.place}")
        rounds = Rounds(memory_broker)
        await cancelled(api, hook.url)
        await rounds()
        await rounds.close()
        assert proxy.got == []
    assert len(hook.got) == 1


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.com/", "https://"),
        ("//example.com/", "https://"),
        ("https://", "name a host"),
        ("https://user:pw@example.com/", "password"),
        ("https://example.com/#top", "fragment"),
        ("https://example.com:22/", "port"),
        ("https://example.com:70000/", "port"),
        ("https://exa mple.com/", "printable"),
        ("https://ex\u00e4mple.com/", "printable"),
        ("https://a%20b/", "host"),
        ("https://example.com/" + "a" * 2_048, "2048"),
        ("https://[::1/", "URL"),
    ],
)
async def test_an_url_that_leads_nowhere_is_a_400(
    api: httpx2.AsyncClient, url: str, why: str
) -> None:
    for body in ({"prompt": "a", "webhook": {"url": url}},):
        for sent in (body, [body]):
            reply = await api.post("/v1/jobs", json=sent)
            assert reply.status_code == 400
            error = reply.json()["error"]
            assert "webhook" in error["param"]
            assert why in error["message"]


async def test_without_a_secret_webhooks_are_a_400_that_says_so(client: httpx2.AsyncClient) -> None:
    job = {"prompt": "a", "webhook": {"url": "https://example.com/"}}
    reply = await client.post("/v1/jobs", json=[{"prompt": "a"}, job])
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "jobs[1].webhook"
    assert "PREBLE_WEBHOOK_SECRET" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook_secret": "tr0ub4dor"},
        {"webhook_secret": "whsec_c2hvcnQ="},
        {"webhook_secret": f"{SECRET} whsec_***"},
        {"webhook_allow": "10.0.0.0/33"},
        {"webhook_allow": "receiver"},
    ],
)
async def test_a_wrong_setting_keeps_the_api_from_starting(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker, wrong: dict[str, str]
) -> None:
    [(name, value)] = wrong.items()
    with pytest.raises(ConfigError, match=name) as raised:
        async with serve(replace(settings, **wrong), memory_broker):
            pass
    assert name == "webhook_allow" or value not in str(raised.value)


def test_a_line_of_a_batch_has_none() -> None:
    body: dict[str, object] = {"model": "m", "prompt": "a"}
    rules = LineRules("/v1/completions", ENDPOINTS["/v1/completions"], "m")
    line = {"custom_id": "1", "method": "POST", "url": "/v1/completions", "body": body}
    rules.parse(json.dumps(line).encode())
    body["webhook"] = {"url": "https://app.example.com/"}
    with pytest.raises(InvalidJob, match="leave it out"):
        rules.parse(json.dumps(line).encode())


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/responses", "/v1/completions"])
async def test_every_dialect_names_the_field(api: httpx2.AsyncClient, path: str) -> None:
    model = (await api.get("/v1/models")).json()["data"][0]["id"]
    prompt = {"input": "a"} if path == "/v1/responses" else {"prompt": "a"}
    body = {"model": model, **prompt, "webhook": {"url": "gopher://a/"}}
    reply = await api.post(path, json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "webhook"
    assert "https://" in reply.json()["error"]["message"]

"""What holds for every route: one form of errors, request ids, keys, limits, probes, docs."""

import re
from collections.abc import AsyncIterator

import httpx2
import msgspec
import pytest
from api_support import SOME_JOB, DownBroker, OneWorker, Serve

from preble.broker.memory import MemoryBroker
from preble.broker.memory_agreement import MemoryAgreement
from preble.broker.memory_counts import MemoryCounts
from preble.broker.memory_state import MemoryState
from preble.config import Settings
from preble.messages import TOKEN_BYTES, JobId, JobView, PoolRecord, PoolStats, encode
from preble.metrics.table import POOL_TOTALS
from preble_api.limits import BODIES_AT_ONCE
from preble_api.openapi import DescribedApi
from preble_api.routes import health
from preble_api.schemas import Problem

pytestmark = pytest.mark.anyio

ROUTES = {
    "/v1/jobs", "/v1/jobs/ended", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/cancel",
    "/v1/jobs/{job_id}/retry",
    "/v1/jobs/{job_id}/events", "/v1/jobs/{job_id}/explain", "/v1/models",
    "/v1/models/{model}", "/v1/workers", "/v1/workers/{instance}/drain",
    "/v1/workers/{instance}/resume", "/v1/chat/completions", "/v1/completions", "/v1/responses",
    "/v1/responses/{response_id}", "/v1/responses/{response_id}/cancel",
    "/generate", "/abort_request", "/model_info", "/get_model_info", "/server_info",
    "/get_server_info", "/v1/loads", "/flush_cache", "/livez", "/readyz", "/health", "/metrics",
}  # fmt: skip
JSON = {"content-type": "application/json"}


async def chunks(total_bytes: int, sent: list[int]) -> AsyncIterator[bytes]:
    """A body that does not say how long it is."""
    yield b'{"prompt": "'
    for _ in range(total_bytes // 10_000):
        sent.append(10_000)
        yield b"a" * 10_000
    yield b'"}'


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404), ("GET", "/v1/nothing", 404), ("GET", "/v1/jobs/a/b", 404),
        ("POST", "/v1/jobs/", 404), ("DELETE", "/v1/jobs", 405), ("PUT", "/v1/jobs", 405),
        ("DELETE", "/v1/jobs/job_1", 405), ("POST", "/metrics", 405), ("BREW", "/coffee", 404),
    ],
)  # fmt: skip
async def test_routes_and_methods_that_do_not_exist_are_problems_too(
    client: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    reply = await client.request(method, path)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    problem = msgspec.json.decode(reply.content, type=Problem)
    assert problem.status == status
    assert problem.type == f"urn:preble:error:{problem.error.code}"
    assert ("allow" in reply.headers) == (status == 405)


async def test_sane_request_id_comes_back(client: httpx2.AsyncClient) -> None:
    reply = await client.get("/livez", headers={"X-Request-ID": "abc-1.2_3"})
    assert reply.headers["x-request-id"] == "abc-1.2_3"


@pytest.mark.parametrize("given", ["a b", "x" * 129, "<script>", ""])
async def test_other_request_ids_are_replaced(client: httpx2.AsyncClient, given: str) -> None:
    reply = await client.get("/livez", headers={"X-Request-ID": given})
    assert reply.headers["x-request-id"].startswith("req_")


class BrokenBroker(MemoryBroker):
    """A bug in Preble."""

    async def view(self, job_id: JobId) -> JobView | None:
        del job_id
        raise KeyError("a prompt that nobody may see")


async def test_bug_is_a_500_that_tells_nothing_and_is_logged_with_its_request_id(
    serve: Serve, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(settings, BrokenBroker()) as client:
        reply = await client.get(f"/v1/jobs/{SOME_JOB}")
    assert reply.status_code == 500
    assert "prompt" not in reply.text
    [record] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert reply.headers["x-request-id"] in record.getMessage()


async def test_livez_needs_no_queue(serve: Serve, settings: Settings) -> None:
    async with serve(settings, DownBroker()) as client:
        assert (await client.get("/livez")).status_code == 200


@pytest.mark.parametrize("path", ["/readyz", "/health"])
async def test_ready_means_the_queue_answers(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker, path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(health, "READY_S", 0.0)
    async with serve(settings, memory_broker) as client:
        reply = await client.get(path)
        assert (reply.status_code, reply.json()["instances"]) == (200, 0)
        await OneWorker(memory_broker).assign_all()
        assert (await client.get(path)).json()["instances"] == 1
    async with serve(settings, DownBroker()) as client:
        reply = await client.get(path)
        assert reply.status_code == 503
        assert reply.headers["content-type"] == "application/problem+json"


async def test_probes_that_come_often_do_not_reach_the_queue(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "READY_S", 3_600.0)
    async with serve(settings, memory_broker) as client:
        assert (await client.get("/readyz")).json()["instances"] == 0
        await OneWorker(memory_broker).assign_all()
        assert (await client.get("/readyz")).json()["instances"] == 0
        assert "preble_pool_instances 1.0" in (await client.get("/metrics")).text


async def test_the_description_is_written_once(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await client.get("/openapi.json")

    def nothing(_: DescribedApi) -> dict[str, object]:
        return {}

    monkeypatch.setattr(DescribedApi, "openapi", nothing)
    again = await client.get("/openapi.json")
    assert again.json() == first.json()
    assert again.json()["openapi"]


@pytest.mark.parametrize("path", ["/v1/jobs/job_1", "/metrics", "/nothing"])
@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer", "Basic secret", "secret"])
async def test_without_the_key_nothing_is_told(
    serve: Serve, memory_broker: MemoryBroker, path: str, given: str | None
) -> None:
    async with serve(Settings(api_key="secret"), memory_broker) as client:
        headers = {"authorization": given} if given else {}
        reply = await client.get(path, headers=headers)
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == "Bearer"
        assert reply.json()["error"]["type"] == "authentication_error"
        assert "secret" not in reply.text


async def test_key_opens_and_probes_need_none(serve: Serve, memory_broker: MemoryBroker) -> None:
    async with serve(Settings(api_key="secret"), memory_broker) as client:
        headers = {"authorization": "bearer secret"}
        assert (await client.get("/metrics", headers=headers)).status_code == 200
        refused = await client.post("/v1/jobs", json={"prompt": "hello"})
        assert refused.status_code == 401
        assert (await memory_broker.counts.stats()).waiting == 0
        accepted = await client.post("/v1/jobs", json={"prompt": "hello"}, headers=headers)
        assert accepted.status_code == 202
        for path in ("/livez", "/readyz", "/health", "/docs", "/openapi.json"):
            assert (await client.get(path)).status_code == 200


async def test_body_that_says_it_is_too_large_is_refused_unread(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    sent: list[int] = []
    headers = {**JSON, "content-length": "50000000"}
    reply = await client.post("/v1/jobs", content=chunks(50_000_000, sent), headers=headers)
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "body_too_large"
    assert not sent
    assert (await memory_broker.counts.stats()).waiting == 0


async def test_body_that_does_not_say_so_is_refused_at_the_limit(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, settings: Settings
) -> None:
    sent: list[int] = []
    reply = await client.post("/v1/jobs", content=chunks(50_000_000, sent), headers=JSON)
    assert reply.status_code == 413
    assert sum(sent) <= settings.max_body_bytes + 10_000
    assert (await memory_broker.counts.stats()).waiting == 0


async def test_bodies_together_are_bounded(client: httpx2.AsyncClient, settings: Settings) -> None:
    """Each is small enough; while one client trickles, others are told to come back."""
    held: list[httpx2.Response] = []

    async def trickle(others: int) -> AsyncIterator[bytes]:
        yield b"[" + b" " * (settings.max_body_bytes - 100)
        # This body is held; the next one begins while it is.
        if others:
            held.append(await client.post("/v1/jobs", content=trickle(others - 1), headers=JSON))
        yield b'{"prompt": "a"}]'

    first = await client.post("/v1/jobs", content=trickle(BODIES_AT_ONCE), headers=JSON)
    assert [reply.status_code for reply in held] == [429, 202]
    assert held[0].json()["error"]["code"] == "too_many_bytes"
    assert held[0].headers["retry-after"] == "1"
    assert first.status_code == 202
    again = await client.post("/v1/jobs", content=trickle(0), headers=JSON)
    assert again.status_code == 202


async def test_openapi_describes_every_route_with_its_errors(client: httpx2.AsyncClient) -> None:
    page = (await client.get("/openapi.json")).json()
    assert set(page["paths"]) == ROUTES
    submit = page["paths"]["/v1/jobs"]["post"]
    statuses = {"202", "400", "401", "403", "404", "413", "415", "422", "429", "503"}
    assert set(submit["responses"]) == statuses
    assert "Idempotency-Key" in submit["responses"]["422"]["description"]  # no invalid body
    show = page["paths"]["/v1/jobs/{job_id}"]["get"]
    assert {"200", "401", "404", "503"} <= set(show["responses"])
    assert [each["name"] for each in show["parameters"]] == ["job_id", "Prefer"]
    names = set(page["components"]["schemas"])
    text = (await client.get("/openapi.json")).text
    used = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used <= names
    assert {"JobRequest", "JobStatus", "Problem", "Sampling"} <= used
    top_p = page["components"]["schemas"]["Sampling"]["properties"]["top_p"]
    assert (top_p["exclusiveMinimum"], top_p["maximum"]) == (0, 1)


async def test_openapi_tells_what_a_bare_list_and_a_deadline_may_be(
    client: httpx2.AsyncClient,
) -> None:
    submit = (await client.get("/openapi.json")).json()["paths"]["/v1/jobs"]["post"]
    bare = submit["requestBody"]["content"]["application/json"]["schema"]["oneOf"][-1]
    assert (bare["minItems"], bare["maxItems"]) == (1, 1000)
    [after] = [each for each in submit["parameters"] if each["name"] == "Cancel-After"]
    times = {"90": True, "1h30m": True, "1.5s": True, "s1": False, "x": False}
    found = {given: bool(re.search(after["schema"]["pattern"], given)) for given in times}
    assert found == times


async def test_docs_page_is_served(client: httpx2.AsyncClient) -> None:
    reply = await client.get("/docs")
    assert "openapi.json" in reply.text


async def test_metrics_tell_what_this_api_did(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    await client.post("/v1/jobs", json=[{"input_ids": [1] * 10}] * 3)
    await client.post("/v1/jobs", json={"prompt": ""})
    await client.get("/nothing")
    waiting = await memory_broker.peek(10)
    sent_bytes = sum(10 * TOKEN_BYTES + len(encode(job.spec)) for job in waiting)
    await OneWorker(memory_broker).assign_all()
    page = (await client.get("/metrics")).text
    for line in (
        'preble_http_requests_total{method="POST",route="/v1/jobs",status="202"} 1.0',
        'preble_http_requests_total{method="POST",route="/v1/jobs",status="400"} 1.0',
        'preble_http_requests_total{method="GET",route="other",status="404"} 1.0',
        'preble_http_request_duration_seconds_count{method="POST",route="/v1/jobs"} 2.0',
        "preble_jobs_submitted_total 3.0",
        'preble_jobs_rejected_total{reason="invalid_value"} 1.0',
        "preble_prompt_tokens_submitted_total 30.0",
        "preble_pool_up 1.0",
        'preble_pool_jobs{state="assigned"} 3.0',
        f"preble_pool_prompt_bytes {sent_bytes}.0",
        "preble_pool_instances 1.0",
        "preble_pool_jobs_completed_total 0.0",
    ):
        assert line in page.splitlines()


async def test_every_total_of_the_queue_is_a_metric(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    await client.post("/v1/jobs", json=[{"input_ids": [1] * 10}] * 3)
    worker = OneWorker(memory_broker)
    await worker.assign_all()
    await worker.run_all()
    await worker.complete_all()
    totals = (await memory_broker.counts.stats()).totals
    assert totals["completed"] == 3
    assert totals.keys() <= POOL_TOTALS.keys()
    page = (await client.get("/metrics")).text.splitlines()
    for name, value in totals.items():
        assert f"{POOL_TOTALS[name].full_name}_total {float(value)}" in page


async def test_metrics_are_served_while_the_queue_is_down(serve: Serve, settings: Settings) -> None:
    async with serve(settings, DownBroker()) as client:
        reply = await client.get("/metrics")
        assert reply.status_code == 200
        assert "preble_pool_up 0.0" in reply.text.splitlines()
        assert "preble_pool_jobs" not in reply.text


class RecordingAgreement(MemoryAgreement):
    def __init__(self, calls: list[str]) -> None:
        super().__init__()
        self._calls = calls

    async def join_pool(self, record: PoolRecord) -> None:
        self._calls.append(f"join {record.model}")


class RecordingCounts(MemoryCounts):
    def __init__(self, state: MemoryState, calls: list[str]) -> None:
        super().__init__(state)
        self._calls = calls

    async def stats(self) -> PoolStats:
        self._calls.append("stats")
        return await super().stats()


class RecordingBroker(MemoryBroker):
    """Remembers how it was treated."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.agreement = RecordingAgreement(self.calls)
        self.counts = RecordingCounts(self._state, self.calls)

    async def close(self) -> None:
        self.calls.append("close")


async def test_api_joins_the_pool_asks_once_a_scrape_and_closes(
    serve: Serve, settings: Settings
) -> None:
    broker = RecordingBroker()
    async with serve(settings, broker) as client:
        await client.get("/metrics")
    assert broker.calls == [f"join {settings.model}", "stats", "close"]

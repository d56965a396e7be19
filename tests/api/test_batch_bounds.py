"""No batch and no tenant keeps the others out, whatever is in a file and whatever goes wrong."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_support import OneWorker, Serve
from batch_support import COMPLETIONS, ENDED, lines, until
from msgspec.structs import replace

from preble.broker.memory import MemoryBroker
from preble.config import Settings
from preble_api.batches import places, troubles, validation
from preble_api.batches.drive import Drive
from preble_api.batches.work import Ended, Work

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[httpx2.AsyncClient]:  # fmt: skip
    monkeypatch.setattr(troubles, "REST_S", 0.0)
    some = replace(settings, files_dir=str(tmp_path), max_tenant_files=4)
    async with serve(some, memory_broker) as made:
        yield made


async def upload(api: httpx2.AsyncClient, data: bytes, tenant: str) -> str:
    fields = {"purpose": "batch", "tenant": tenant}
    reply = await api.post("/v1/files", data=fields, files={"file": ("in.jsonl", data)})
    return str(reply.json()["id"])


async def begin(
    api: httpx2.AsyncClient, data: bytes, *, tenant: str = "acme", window: str = "24h"
) -> str:
    asked = {
        "input_file_id": await upload(api, data, tenant),
        "endpoint": COMPLETIONS,
        "completion_window": window,
    }
    reply = await api.post("/v1/batches", json=asked)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


async def show(api: httpx2.AsyncClient, batch_id: str) -> dict[str, Any]:
    return dict((await api.get(f"/v1/batches/{batch_id}")).json())


async def comes_to(api: httpx2.AsyncClient, batch_id: str, status: str) -> dict[str, Any]:
    async def has_come() -> bool:
        found = (await show(api, batch_id))["status"]
        assert found == status or found not in ENDED
        return bool(found == status)

    await until(has_come)
    return await show(api, batch_id)


# What no error was expected of.


def broken(*_: object, **__: object) -> None:
    msg = "a bug"
    raise RuntimeError(msg)


async def test_a_bug_met_by_a_line_is_told_at_the_line_and_logged_once(
    api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(validation, "prefix_key", broken)
    with caplog.at_level(logging.ERROR):
        ended = await comes_to(api, await begin(api, lines(2)), "failed")
    errors = ended["errors"]["data"]
    assert [(each["code"], each["line"]) for each in errors] == [
        ("internal_error", 1), ("internal_error", 2),
    ]  # fmt: skip
    (logged,) = [each for each in caplog.records if each.exc_info]
    assert "line 1 " in logged.getMessage()


@pytest.mark.parametrize("error", [RuntimeError("a bug"), FileNotFoundError("input")])
async def test_a_batch_that_cannot_be_driven_ends(
    api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(_: validation.Validation) -> bool:
        raise error

    monkeypatch.setattr(validation.Validation, "step", fails)
    ended = await comes_to(api, await begin(api, lines(2)), "failed")
    assert [each["code"] for each in ended["errors"]["data"]] == ["internal_error"]
    assert ended["failed_at"] >= ended["created_at"]


async def test_a_batch_that_cannot_go_on_keeps_what_was_answered(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = await begin(api, lines(2))

    async def are_there() -> bool:
        return len(await memory_broker.peek(10)) == 2

    await until(are_there)
    answered, ended_as_it_should = iter((True,)), Work.ended

    def ends_once(work: Work, *args: Any) -> Ended:  # noqa: ANN401  as `Work.ended`
        if not next(answered, False):
            broken()
        return ended_as_it_should(work, *args)

    monkeypatch.setattr(Work, "ended", ends_once)
    worker = OneWorker(memory_broker)
    await worker.assign_all()
    await worker.run_all()
    await worker.complete_all()
    ended = await comes_to(api, batch_id, "failed")
    assert ended["errors"]["data"][0]["code"] == "internal_error"
    assert ended["request_counts"]["completed"] == 1
    output = (await api.get(f"/v1/files/{ended['output_file_id']}/content")).text
    assert len(output.splitlines()) == 1


async def test_a_batch_whose_answers_cannot_be_kept_ends_too(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Drive, "_make_files", broken)
    batch_id = await begin(api, lines(1))
    await api.post(f"/v1/batches/{batch_id}/cancel")
    assert (await comes_to(api, batch_id, "failed"))["error_file_id"] is None
    assert (await memory_broker.counts.stats()).running == 0


# Whose turn it is.


async def test_a_tenant_alone_leaves_places_to_others(api: httpx2.AsyncClient) -> None:
    file_id = await upload(api, lines(1), "acme")
    asked = {"input_file_id": file_id, "endpoint": COMPLETIONS, "completion_window": "24h"}
    for _ in range(places.MOST_DRIVEN + 1):
        assert (await api.post("/v1/batches", json=asked)).status_code == 200
    # No worker takes its jobs; another's is driven all the same.
    await comes_to(api, await begin(api, b"no json\n", tenant="bob"), "failed")


async def test_a_batch_without_a_place_is_cancelled_and_expires(
    api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MOST_DRIVEN", 1)
    driven = await begin(api, lines(1))
    await comes_to(api, driven, "in_progress")
    cancelled = await begin(api, lines(1))
    expired = await begin(api, lines(1), window="1s")
    await comes_to(api, expired, "expired")
    assert (await show(api, cancelled))["status"] == "validating"
    await api.post(f"/v1/batches/{cancelled}/cancel")
    await comes_to(api, cancelled, "cancelled")
    assert (await show(api, driven))["status"] == "in_progress"


# How much.


async def test_a_tenant_with_as_many_files_as_it_may_begins_no_batch(
    api: httpx2.AsyncClient,
) -> None:
    ids = [await upload(api, lines(1), "acme") for _ in range(4)]
    asked = {"input_file_id": ids[0], "endpoint": COMPLETIONS, "completion_window": "24h"}
    reply = await api.post("/v1/batches", json=asked)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (429, "too_many_files")
    assert error["param"] == "input_file_id"
    await api.delete(f"/v1/files/{ids[1]}")
    assert (await api.post("/v1/batches", json=asked)).status_code == 200


async def test_a_file_has_so_many_blank_lines(
    api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MAX_LINES", "MOST_BLANK_LINES"):
        monkeypatch.setattr(validation, name, 5)
    ended = await comes_to(api, await begin(api, b"\n" * 50), "failed")
    (error,) = ended["errors"]["data"]
    assert (error["code"], error["line"]) == ("too_many_lines", 11)

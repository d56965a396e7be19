"""A batch whose queue is full, away, or has forgotten its jobs: each line has one right end."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_support import OneWorker, Serve
from batch_support import COMPLETIONS, ENDED, lines, until
from msgspec.structs import replace

from preble.broker.answers import Admitted
from preble.broker.memory import MemoryBroker
from preble.clock import unix_s
from preble.config import Settings
from preble.errors import BrokerUnavailable
from preble.messages import JobId, JobView, Submission
from preble_api.batches import run

pytestmark = pytest.mark.anyio

NUMBER = 12


class Moody(MemoryBroker):
    """A queue that holds five jobs, and can be away or forgetful."""

    def __init__(self, max_ended_bytes: int = 1 << 30) -> None:
        super().__init__(max_jobs=5, max_ended_bytes=max_ended_bytes)
        self.is_away = False
        self.is_forgetful = False
        self.admitted: list[JobId] = []

    async def admit(self, batches: Sequence[Sequence[Submission]]) -> list[Admitted]:
        if self.is_away:
            raise BrokerUnavailable("redis is gone")
        outcomes = await super().admit(batches)
        for batch, outcome in zip(batches, outcomes, strict=True):
            if not isinstance(outcome, Exception):
                self.admitted += [job.job_id for job in batch]
        return outcomes

    async def view(self, job_id: JobId) -> JobView | None:
        if self.is_away:
            raise BrokerUnavailable("redis is gone")
        return None if self.is_forgetful else await super().view(job_id)


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Moody:
    return Moody(**getattr(request, "param", {}))


@pytest.fixture
async def api(
    serve: Serve, settings: Settings, broker: Moody, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[httpx2.AsyncClient]:  # fmt: skip
    monkeypatch.setattr(run, "_PAUSE_S", 0.01)
    monkeypatch.setattr(run, "_LONGEST_PAUSE_S", 0.01)
    async with serve(replace(settings, files_dir=str(tmp_path), result_ttl_s=60), broker) as made:
        yield made


async def begin(api: httpx2.AsyncClient, number: int) -> str:
    files = {"file": ("in.jsonl", lines(number))}
    file = await api.post("/v1/files", data={"purpose": "batch"}, files=files)
    asked = {
        "input_file_id": file.json()["id"], "endpoint": COMPLETIONS, "completion_window": "24h",
    }  # fmt: skip
    return str((await api.post("/v1/batches", json=asked)).json()["id"])


async def show(api: httpx2.AsyncClient, batch_id: str) -> dict[str, Any]:
    return dict((await api.get(f"/v1/batches/{batch_id}")).json())


async def work_until_ended(api: httpx2.AsyncClient, broker: Moody, batch_id: str) -> dict[str, Any]:
    worker = OneWorker(broker)

    async def has_ended() -> bool:
        if await broker.peek(10):
            await worker.assign_all()
            await worker.run_all()
            await worker.complete_all()
        return (await show(api, batch_id))["status"] in ENDED

    await until(has_ended)
    return await show(api, batch_id)


def check_all_completed(batch: dict[str, Any], broker: Moody) -> None:
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": NUMBER, "completed": NUMBER, "failed": 0}
    assert len(set(broker.admitted)) == NUMBER


async def test_a_full_queue_takes_a_batch_bit_by_bit(
    api: httpx2.AsyncClient, broker: Moody
) -> None:
    batch = await work_until_ended(api, broker, await begin(api, NUMBER))
    check_all_completed(batch, broker)
    assert len(broker.admitted) == NUMBER


async def test_a_batch_waits_while_the_queue_is_away(
    api: httpx2.AsyncClient, broker: Moody
) -> None:
    broker.is_away = True
    batch_id = await begin(api, NUMBER)

    async def is_in_progress() -> bool:
        return str((await show(api, batch_id))["status"]) == "in_progress"

    await until(is_in_progress)
    broker.is_away = False
    check_all_completed(await work_until_ended(api, broker, batch_id), broker)


async def test_a_job_that_the_queue_lost_is_handed_over_again(
    api: httpx2.AsyncClient, broker: Moody
) -> None:
    batch_id = await begin(api, NUMBER)

    async def is_handed_over() -> bool:
        return len(broker.admitted) == 5

    await until(is_handed_over)
    broker.is_forgetful = True

    async def is_handed_over_again() -> bool:
        return len(broker.admitted) > NUMBER

    await until(is_handed_over_again)
    broker.is_forgetful = False
    check_all_completed(await work_until_ended(api, broker, batch_id), broker)


async def test_a_job_that_may_have_expired_is_not_run_again(
    api: httpx2.AsyncClient, broker: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = await begin(api, 3)

    async def is_handed_over() -> bool:
        return len(broker.admitted) == 3

    await until(is_handed_over)
    monkeypatch.setattr(run, "unix_s", lambda: unix_s() + 61)
    broker.is_forgetful = True

    async def has_ended() -> bool:
        return (await show(api, batch_id))["status"] in ENDED

    await until(has_ended)
    batch = await show(api, batch_id)
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 3, "completed": 0, "failed": 3}
    assert [each["code"] for each in batch["errors"]["data"]] == ["result_expired"]
    assert len(broker.admitted) == 3


@pytest.mark.parametrize("broker", [{"max_ended_bytes": 1}], indirect=True)
async def test_a_result_that_was_dropped_before_it_was_taken_is_not_made_again(
    api: httpx2.AsyncClient, broker: Moody
) -> None:
    """To make room for others: only what ended last is kept here."""
    batch_id = await begin(api, 3)

    async def is_handed_over() -> bool:
        return len(broker.admitted) == 3

    await until(is_handed_over)
    broker.is_away = True
    worker = OneWorker(broker)
    await worker.assign_all()
    await worker.run_all()
    await worker.complete_all()
    broker.is_away = False

    async def has_ended() -> bool:
        return (await show(api, batch_id))["status"] in ENDED

    await until(has_ended)
    batch = await show(api, batch_id)
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    assert [each["code"] for each in batch["errors"]["data"]] == ["result_expired"]
    assert len(broker.admitted) == 3

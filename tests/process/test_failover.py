"""A Redis primary dies under load, and its replica takes over: what goes on, and what is told."""

import re
import signal
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from failover_support import Sentinels, pair, sentinels
from processes import Stack
from redis import Redis
from support import SMALL_BOUNDS, eventually, submission

from preble.broker import redis_confirmation
from preble.broker.redis import RedisBroker
from preble.errors import BrokerUnavailable

pytestmark = pytest.mark.process

NAMES = ("api", "scheduler1", "scheduler2", "gpu0", "gpu1")
GOES_ON_S = 30.0
BEAT = "preble:default:beat"


def jobs(number: int) -> list[dict[str, object]]:
    """Prompts of 64 tokens, no two alike."""
    return [
        {"input_ids": [index, *range(63)], "sampling_params": {"max_new_tokens": 8}}
        for index in range(number)
    ]


@contextmanager
def pool(folder: Path, servers: Sentinels, **settings: str) -> Generator[Stack]:
    """An api, two schedulers and two workers that know only the Sentinels."""
    given = {"redis_url": servers.url, "emulated_speed": "25", "slots": "8", **settings}
    running = Stack(folder, servers.primary.port, given)
    try:
        for name in NAMES:
            running.start(name)
        eventually(lambda: running.ready(2))
        yield running
        assert all(process.poll() is None for process in running.processes.values())
    finally:
        running.stop()


def try_submit(running: Stack, job: dict[str, object]) -> str | None:
    """The job's id if it was accepted."""
    try:
        reply = httpx2.post(f"{running.url}/v1/jobs", json=job, timeout=30)
    except httpx2.TransportError:
        return None
    assert reply.status_code in {202, 503}, reply.text
    return str(reply.json()["id"]) if reply.status_code == 202 else None


def status(running: Stack, job_id: str) -> str:
    """Of one job; `unknown` if the pool has never heard of it."""
    reply = httpx2.get(f"{running.url}/v1/jobs/{job_id}", timeout=30)
    return str(reply.json()["status"]) if reply.status_code == 200 else "unknown"


def results(port: int, ids: list[str]) -> list[int]:
    """How many results each job has."""
    with Redis(port=port) as client, client.pipeline(transaction=False) as pipeline:
        for job_id in ids:
            pipeline.xlen(f"rq:results:{job_id}")
        return list(pipeline.execute())


def test_what_survives_ends_once_and_what_was_lost_is_told(tmp_path: Path) -> None:
    with sentinels(tmp_path) as servers, pool(tmp_path, servers) as running:
        kept = running.submit(jobs(100))
        eventually(lambda: running.completed() > 0)
        servers.cut_replica()
        survived = int(servers.replica.ask("GET", BEAT))
        lost = running.submit(jobs(10))
        eventually(lambda: int(servers.primary.ask("GET", BEAT)) > survived)

        running.redis_port = servers.fail_over()

        eventually(lambda: running.completed() == len(kept), within_s=GOES_ON_S)
        assert set(results(running.redis_port, kept)) == {1}
        assert {status(running, job_id) for job_id in kept} == {"completed"}
        assert {status(running, job_id) for job_id in lost} == {"unknown"}
        eventually(lambda: "rollbacks" in running.totals(), within_s=GOES_ON_S)
        totals = running.totals()
        assert totals["rollbacks"] == 1
        told = "".join(running.log(name) for name in ("scheduler1", "scheduler2"))
        (seconds,) = re.findall(r"Redis lost writes of at most ([\d.]+) s", told)
        assert float(seconds) == pytest.approx(totals["lost_write_ms"] / 1_000, abs=0.051)
        assert 0 < float(seconds) < GOES_ON_S

        more = running.submit(jobs(10))
        eventually(lambda: {status(running, job_id) for job_id in more} == {"completed"})


def test_with_replicated_durability_no_accepted_job_is_lost(tmp_path: Path) -> None:
    with (
        sentinels(tmp_path) as servers,
        pool(tmp_path, servers, durability="replicated") as running,
        ThreadPoolExecutor(16) as clients,
    ):
        asked = [clients.submit(try_submit, running, job) for job in jobs(64)]
        eventually(lambda: sum(each.done() for each in asked) >= 16)
        servers.cut_replica()
        eventually(lambda: any(each.done() and each.result() is None for each in asked))
        running.redis_port = servers.fail_over()
        servers.bring_back()  # alone, the other confirms nothing
        accepted = [job_id for each in asked if (job_id := each.result())]
        assert len(accepted) >= 16

        eventually(
            lambda: {status(running, job_id) for job_id in accepted} == {"completed"},
            within_s=GOES_ON_S,
        )
        assert set(results(running.redis_port, accepted)) == {1}
        eventually(lambda: try_submit(running, jobs(1)[0]) is not None, within_s=GOES_ON_S)


@pytest.mark.anyio
async def test_a_job_that_was_there_already_is_confirmed_like_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_confirmation, "CONFIRM_WITHIN_S", 0.2)
    with pair(tmp_path) as servers:
        servers.replica.process.send_signal(signal.SIGSTOP)  # connected, and behind
        for _ in range(2):  # the second comes from another process, which has written nothing
            broker = RedisBroker(
                f"redis://127.0.0.1:{servers.primary.port}", "default", bounds=SMALL_BOUNDS,
                max_attempts=3, result_ttl_s=600, durability="replicated",
            )  # fmt: skip
            (refusal,) = await broker.admit([[submission("a")]])
            await broker.close()
            assert isinstance(refusal, BrokerUnavailable)

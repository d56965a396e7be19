"""Real processes, killed and stopped for real, in the middle of real work."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from processes import Stack, stack
from redis import Redis
from support import eventually

from preble.config import Settings

pytestmark = pytest.mark.process


def prompts(number: int, *, max_new_tokens: int = 16) -> list[dict[str, object]]:
    """Prompts of about 300 tokens in groups that share most of them."""
    return [
        {
            "input_ids": [(index % 10) * 100 + position % 97 for position in range(256)]
            + [index % 1_000, index // 1_000] * 20,
            "sampling_params": {"max_new_tokens": max_new_tokens},
        }
        for index in range(number)
    ]


def check_one_result_each(running: Stack, ids: list[str]) -> None:
    """Every job completed, with one entry in RQ's result stream and one in the totals."""
    with Redis(port=running.redis_port) as client, client.pipeline() as pipeline:
        for job_id in ids:
            pipeline.hget(f"rq:job:{job_id}", "preble_state")
            pipeline.xlen(f"rq:results:{job_id}")
        replies = pipeline.execute()
    assert set(replies[::2]) == {b"completed"}
    assert set(replies[1::2]) == {1}
    assert running.completed() == len(ids)


def rq_info(running: Stack) -> str:
    """RQ's own monitor, as an operator runs it."""
    command = [sys.executable, "-m", "rq.cli", "info", "-u", running.redis_url, "--raw"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("binding", ["eager", "late"])
def test_a_thousand_jobs_survive_the_death_of_a_worker_and_two_schedulers(
    tmp_path: Path, binding: str
) -> None:
    # By turns, and while a scheduler leads: so the worker has work when it is killed.
    with stack(
        tmp_path, emulated_speed="25", slots="16", policy="round_robin", binding=binding
    ) as running:
        ids = running.submit(prompts(1_000))
        for completed, victim in ((100, "gpu0"), (250, "scheduler"), (500, "scheduler")):
            eventually(lambda least=completed: running.completed() >= least)  # type: ignore[misc]
            running.kill(victim)
            if victim == "scheduler":
                running.start(victim)
        eventually(lambda: running.completed() == len(ids), within_s=60)
        check_one_result_each(running, ids)
        # Bound late, the worker may have had nothing just then.
        assert binding == "late" or running.totals()["requeued"] > 0


def test_a_worker_stopped_past_its_lease_is_refused_and_begins_anew(tmp_path: Path) -> None:
    with stack(
        tmp_path, instances=1, lease_s="1", emulated_speed="1", slots="16", binding="eager"
    ) as running:
        ids = running.submit(prompts(16, max_new_tokens=60))
        eventually(lambda: running.job(ids[0])["status"] == "running")
        running.signal("gpu0", signal.SIGSTOP)
        running.start("gpu1")
        eventually(lambda: running.completed() == len(ids), within_s=60)
        running.signal("gpu0", signal.SIGCONT)
        eventually(lambda: "beginning anew" in running.log("gpu0"))
        # Each late result is refused, or dropped because its life was fenced first.
        log = running.log("gpu0")
        dropped = sum(int(number) for number in re.findall(r"dropped_jobs=(\d+)", log))
        assert log.count("was refused") + dropped == len(ids)
        check_one_result_each(running, ids)
        assert {running.job(job_id)["instance"] for job_id in ids} == {"gpu1"}
        more = running.submit(prompts(16, max_new_tokens=60))
        eventually(lambda: running.completed() == len(ids) + len(more), within_s=60)


def test_a_dead_worker_is_noticed_within_ten_seconds(tmp_path: Path) -> None:
    default = str(Settings().lease_s)
    with stack(tmp_path, lease_s=default, emulated_speed="0.1", binding="eager") as running:
        (job_id,) = running.submit(prompts(1, max_new_tokens=400))
        eventually(lambda: running.job(job_id)["status"] == "running")
        running.kill(str(running.job(job_id)["instance"]))
        eventually(lambda: running.job(job_id)["attempt"] == 2, within_s=10)


def test_rq_info_shows_true_counts_and_changes_nothing(tmp_path: Path) -> None:
    with stack(
        tmp_path, instances=1, emulated_speed="1", slots="4", wait_jobs="2", binding="eager",
        lease_s="60",
    ) as running:  # fmt: skip
        ids = running.submit(prompts(12, max_new_tokens=300))
        eventually(lambda: running.job(ids[5])["status"] == "running")
        # Nothing ends while it is looked at. And of a silent worker RQ's own cleaning would fail
        # the jobs, so the first look must not change the second.
        running.signal("gpu0", signal.SIGSTOP)
        for _ in range(2):
            shown = rq_info(running)
            assert "queue default.instance.gpu0 6, 6 executing, 0 finished, 0 failed" in shown
            assert "busy default.instance.gpu0" in shown
        running.signal("gpu0", signal.SIGCONT)
        eventually(lambda: running.completed() == len(ids), within_s=60)
        check_one_result_each(running, ids)
        assert "12 finished, 0 failed" in rq_info(running)


def test_a_drained_worker_hands_its_jobs_back_at_no_cost(tmp_path: Path) -> None:
    with stack(tmp_path, instances=1, emulated_speed="0.5", slots="8") as running:
        ids = running.submit(prompts(16, max_new_tokens=400))
        eventually(lambda: running.job(ids[0])["status"] == "running")
        running.signal("gpu0", signal.SIGTERM)
        assert running.processes.pop("gpu0").wait(timeout=20) == 0
        eventually(lambda: running.job(ids[0])["status"] == "waiting")
        assert {running.job(job_id)["attempt"] for job_id in ids} == {0}


def test_redis_gone_is_503_and_back_is_202(tmp_path: Path) -> None:
    with stack(tmp_path, instances=1, emulated_speed="25", slots="16") as running:
        with Redis(port=running.redis_port) as client:
            pid = int(client.info("server")["process_id"])
        os.kill(pid, signal.SIGSTOP)
        try:
            reply = httpx2.post(f"{running.url}/v1/jobs", json=prompts(1)[0], timeout=120)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert reply.status_code == 503
        assert int(reply.headers["retry-after"]) > 0
        ids = running.submit(prompts(4))
        eventually(lambda: all(running.job(job_id)["status"] == "completed" for job_id in ids))

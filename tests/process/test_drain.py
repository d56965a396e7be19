"""Instances are drained and resumed in a whole stack, whatever dies meanwhile."""

import contextlib
import os
import signal
from collections.abc import Generator
from typing import Any

import httpx2
import pytest
from proc_support import child_pids, command_line
from support import eventually

from preble.cli import run
from preble.config import Settings
from preble.serve.private import PrivateStack, private_stack

pytestmark = pytest.mark.process

WITHIN_S = 60.0


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Generator[PrivateStack]:
    for name in [name for name in os.environ if name.startswith("PREBLE_")]:
        monkeypatch.delenv(name)
    # Its prefills take 2 s each, so that jobs are seen to run.
    settings = Settings(engine="emulated", workers=2, policy="round_robin", lease_s=2)
    with private_stack(settings) as served:
        monkeypatch.setenv("PREBLE_URL", served.url)
        yield served


def workers(url: str) -> dict[str, dict[str, Any]]:
    listed = httpx2.get(f"{url}/v1/workers", timeout=WITHIN_S).json()["data"]
    return {worker["instance"]: worker for worker in listed}


def state(url: str, instance: str) -> str | None:
    worker = workers(url).get(instance)
    return worker["state"] if worker else None


def submit(url: str, number: int, max_new_tokens: int = 2) -> list[str]:
    sampling = {"max_new_tokens": max_new_tokens, "ignore_eos": True}
    jobs = [{"prompt": f"job {n}", "sampling_params": sampling} for n in range(number)]
    reply = httpx2.post(f"{url}/v1/jobs", json=jobs, timeout=WITHIN_S)
    assert reply.status_code == 202, reply.text
    return [job["id"] for job in reply.json()["data"]]


def ended(url: str, job_ids: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for job_id in job_ids:
        headers = {"prefer": f"wait={WITHIN_S:.0f}"}
        reply = httpx2.get(f"{url}/v1/jobs/{job_id}", headers=headers, timeout=2 * WITHIN_S)
        found.append(reply.json())
    return found


def kill(stack: PrivateStack, word: str) -> None:
    """Kill the child of the stack whose command has this word, and its environment's, if any."""
    for pid in child_pids(stack.pid):
        if word in command_line(pid):
            # One that was killed just before may be gone by now.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_drained_instance_ends_what_it_runs_and_gets_no_more(stack: PrivateStack) -> None:
    url = stack.url
    running = submit(url, 4, max_new_tokens=200)
    eventually(lambda: workers(url)["gpu0"]["running"] > 0)

    assert run(["workers", "drain", "gpu0", "--wait", "--timeout", "60"]) == 0
    assert state(url, "gpu0") == "drained"
    later = submit(url, 6)

    assert {job["status"] for job in ended(url, running + later)} == {"completed"}
    assert {job["instance"] for job in ended(url, later)} == {"gpu1"}
    assert {job["attempt"] for job in ended(url, running)} == {1}

    assert run(["workers", "resume", "gpu0"]) == 0
    eventually(lambda: state(url, "gpu0") == "ready")
    assert {job["instance"] for job in ended(url, submit(url, 6))} == {"gpu0", "gpu1"}


def test_it_stays_drained_whatever_is_killed(stack: PrivateStack) -> None:
    url = stack.url
    assert run(["workers", "drain", "gpu0"]) == 0
    for word in ("scheduler_process", "preble_workers", "preble_api"):
        kill(stack, word)
    eventually(lambda: _answers(url) and state(url, "gpu1") == "ready", within_s=WITHIN_S)
    eventually(lambda: state(url, "gpu0") == "drained", within_s=WITHIN_S)
    assert {job["instance"] for job in ended(url, submit(url, 6))} == {"gpu1"}


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=WITHIN_S).is_success
    except httpx2.TransportError:
        return False

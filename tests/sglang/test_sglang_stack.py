"""The whole way over a real SGLang on the CPU, killed and stopped for real.

One stack serves all these tests, in their order; SGLang is started once, and again only where
its death is what is tested. Needs `preble engine install cpu`.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx2
import msgspec
import pytest
from processes import Stack, stack
from support import eventually

from preble.client import Result
from preble.engine_env import is_installed
from preble.folders import embedded_model_folder

pytestmark = [
    pytest.mark.process,
    pytest.mark.sglang,
    pytest.mark.skipif(
        "REQUIRE_SGLANG" not in os.environ
        and (not is_installed("cpu", os.environ) or not embedded_model_folder(os.environ).exists()),
        reason="the CPU engine is not installed: preble engine install cpu",
    ),
]

LOAD_S = 240.0
"""What a loaded machine may take until SGLang answers."""

STALL_S = "30"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("sglang")
    with stack(
        folder, instances=1, ready_s=LOAD_S, engine="sglang", workers="1", engine_stall_s=STALL_S,
        context_length="2048", lease_s="5", max_attempts="5",
    ) as made:  # fmt: skip
        yield made


def prompts(
    first: int, *, groups: int = 4, each: int = 6, max_new_tokens: int = 4
) -> list[dict[str, object]]:
    """Prompts of 200 tokens in groups that share 160, the groups mixed; new for each `first`."""
    return [
        {
            "input_ids": [2_000 + (first + group) * 97 + 7 * at for at in range(160)]
            + [1_000 + 40 * number + at for at in range(40)],
            "sampling_params": {"max_new_tokens": max_new_tokens, "temperature": 0.0},
        }
        for number in range(each)
        for group in range(groups)
    ]


def finished(running: Stack, ids: list[str]) -> list[dict[str, object]]:
    """The jobs, all completed."""
    eventually(
        lambda: all(running.job(job_id)["status"] in {"completed", "failed"} for job_id in ids),
        within_s=LOAD_S,
    )
    jobs = [running.job(job_id) for job_id in ids]
    assert {job["status"] for job in jobs} == {"completed"}, [job["error"] for job in jobs]
    return jobs


def result_of(job: dict[str, object]) -> Result:
    return msgspec.convert(job["result"], Result)


def predicted(job: dict[str, object]) -> int:
    return result_of(job).prediction.hit_tokens


def delivered(job: dict[str, object]) -> int:
    return result_of(job).usage.cached_tokens


def server_of(running: Stack) -> tuple[int, str]:
    """Pid and URL of the SGLang that was ready last."""
    found = re.findall(r"SGLang is ready pid=(\d+) url=(\S+)", running.log("gpu0"))
    pid, url = found[-1]
    return int(pid), str(url)


def group_of(pid: int) -> list[str]:
    """The processes of a group that are not zombies."""
    command = ["/bin/ps", "-o", "stat=,args=", "-g", str(pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line for line in listed.stdout.splitlines() if not line.startswith("Z")]


def lost_engine(running: Stack, reason: str, act: signal.Signals) -> list[dict[str, object]]:
    """Jobs that were on their way when the whole server got a signal, as they ended."""
    first = 100 + 10 * act
    pid, _ = server_of(running)
    ids = running.submit(prompts(first, max_new_tokens=16))
    eventually(lambda: running.job(ids[1])["status"] == "running", within_s=60)
    os.killpg(pid, act)
    eventually(lambda: reason in running.log("gpu0"), within_s=90)
    eventually(lambda: server_of(running)[0] != pid, within_s=LOAD_S)
    jobs = finished(running, ids)
    assert not group_of(pid), "nothing of the old server is left"
    assert running.totals()["requeued"] > 0
    return jobs


def test_it_answers_in_words(running: Stack) -> None:
    job: dict[str, object] = {
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "sampling_params": {"max_new_tokens": 24, "temperature": 0.0},
    }
    (answered,) = finished(running, running.submit([job]))
    assert "Paris" in result_of(answered).text


def test_hits_come_as_predicted(running: Stack) -> None:
    jobs = finished(running, running.submit(prompts(0)))
    exact = sum(predicted(job) == delivered(job) for job in jobs)
    foretold = sum(predicted(job) > 0 for job in jobs)
    assert exact >= 0.95 * len(jobs), [(predicted(job), delivered(job)) for job in jobs]
    assert foretold >= 0.6 * len(jobs)
    assert {delivered(job) for job in jobs} == {0, 160}


def test_a_new_worker_beside_a_living_engine_knows_what_it_holds(
    running: Stack, tmp_path: Path
) -> None:
    """Another pool on the same engine; its worker is killed, the engine lives on."""
    _, url = server_of(running)
    tokenizer = str(embedded_model_folder(os.environ))
    with stack(
        tmp_path, instances=1, engine="http", engine_url=url, tokenizer=tokenizer,
        context_length="2048",
    ) as beside:  # fmt: skip
        finished(beside, beside.submit(prompts(40, each=1)))
        beside.kill("gpu0")
        beside.start("gpu0")
        eventually(lambda: beside.log("gpu0").count("following the KV events at ipc://") == 2)
        jobs = finished(beside, beside.submit(prompts(40, each=1)))
        assert [predicted(job) for job in jobs] == [192] * len(jobs)
        assert [delivered(job) for job in jobs] == [192] * len(jobs)


def test_a_killed_engine_is_started_again_and_nothing_is_lost(running: Stack) -> None:
    before = running.completed()
    jobs = lost_engine(running, "the engine died", signal.SIGKILL)
    assert running.completed() == before + len(jobs)
    assert sum(predicted(job) == delivered(job) for job in jobs) >= 0.95 * len(jobs)


def test_what_a_dead_engine_held_is_forgotten(running: Stack) -> None:
    jobs = finished(running, running.submit(prompts(0, each=1)))
    assert [(predicted(job), delivered(job)) for job in jobs] == [(0, 0)] * len(jobs)


def test_a_hung_engine_is_replaced_and_nothing_is_lost(running: Stack) -> None:
    before = running.completed()
    jobs = lost_engine(running, "the engine makes no progress", signal.SIGSTOP)
    assert running.completed() == before + len(jobs)


def test_epochs_tell_the_lives_apart(running: Stack) -> None:
    epochs = re.findall(r"begins epoch (\w+)", running.log("gpu0"))
    assert len(epochs) == len(set(epochs)) == 3
    assert all(one != other for one, other in pairwise(epochs))


def test_a_killed_worker_leaves_no_engine_behind(running: Stack) -> None:
    pid, url = server_of(running)
    running.kill("gpu0")
    eventually(lambda: not group_of(pid))
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{url}/health")

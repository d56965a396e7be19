"""`preble batch run` on real processes, killed with -9: nothing lost, nothing twice."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_kills import check, read_lines, run_killed
from processes import Stack, stack
from support import eventually

pytestmark = pytest.mark.process

LINES = 600
WITHIN_S = 120.0


def write_input(path: Path) -> Path:
    lines = [
        {"id": f"r{n}", "prompt": f"Story {n % 9} about {n}", "sampling_params": {
            "max_new_tokens": 4}}
        for n in range(LINES)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("batch_run"), instances=2, emulated_speed="20") as made:
        yield made


def test_killed_thrice_beside_a_server_and_no_job_is_made_twice(
    running: Stack, tmp_path: Path
) -> None:
    source, out = write_input(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    before = running.completed()
    flags = ["--url", running.url, "--max-inflight", "60"]
    stood = run_killed(source, out, flags, kills=3, seed=1, within_s=WITHIN_S)
    assert stood == sorted(stood)
    assert stood[-1] < LINES
    check(source, out)
    assert running.completed() - before == LINES


def test_killed_with_the_server_that_it_started(tmp_path: Path) -> None:
    source, out = write_input(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    flags = ["--engine", "emulated", "--workers", "1", "--max-inflight", "100"]
    run_killed(source, out, flags, kills=1, seed=2, within_s=WITHIN_S)
    check(source, out)
    report = subprocess.run(
        [sys.executable, "-m", "preble", "batch", "run", str(source), str(out), *flags],
        capture_output=True, text=True, check=True, timeout=WITHIN_S,
    )  # fmt: skip
    assert f"0 ok, 0 failed, {LINES} done before" in report.stderr
    assert "starting a server" not in report.stderr


def test_an_interrupt_flushes_and_names_the_command_that_resumes(
    running: Stack, tmp_path: Path
) -> None:
    source, out = write_input(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    command = [
        sys.executable, "-m", "preble", "batch", "run", str(source), str(out), "--url",
        running.url, "--max-inflight", "20",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        eventually(lambda: len(read_lines(out)) > 20, within_s=WITHIN_S)
        process.terminate()
        _, said = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 130
    resume = said.splitlines()[-1].removeprefix("preble: go on with: ")
    assert resume.startswith("preble batch run ")
    again = [sys.executable, "-m", *resume.split()]
    assert subprocess.run(again, check=False, timeout=WITHIN_S, env=os.environ).returncode == 0
    check(source, out)


def test_a_batch_left_to_the_server_is_fetched(running: Stack, tmp_path: Path) -> None:
    source, out = write_input(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"

    def batch(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "preble", "batch", *arguments, "--url", running.url],
            capture_output=True, text=True, check=True, timeout=WITHIN_S,
        )  # fmt: skip
        return done.stdout.strip()

    batch_id = batch("submit", str(source))
    assert f"{batch_id} completed: {LINES} of {LINES} lines" in batch("watch", batch_id)
    batch("fetch", batch_id, str(out))
    answered = [line["custom_id"] for line in read_lines(out)]
    assert sorted(answered) == sorted(line["id"] for line in read_lines(source))

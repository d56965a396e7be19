"""`preble workers` against an api played by a function."""

import json
import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager

import httpx2
import pytest

from preble.cli import api_calls, run, workers

NO_JOBS = {"running": 0, "queued": 0}


@pytest.fixture(autouse=True)
def _no_preble_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PREBLE_")]:
        monkeypatch.delenv(name)


class Api:
    """Two instances, of which gpu0 has two jobs that end one with each look."""

    def __init__(self) -> None:
        self.state = {"gpu0": "ready", "gpu1": "ready"}
        self.running = 2
        self.asked: list[tuple[str, str]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append((request.method, request.url.path))
        if request.method == "GET":
            self.running = max(0, self.running - 1)
            return httpx2.Response(200, json={"data": [self.worker(name) for name in self.state]})
        name, action = request.url.path.split("/")[-2:]
        if name not in self.state:
            error = {"message": f"no instance is called '{name}'; there are: gpu0, gpu1",
                     "code": "instance_not_found"}  # fmt: skip
            return httpx2.Response(404, json={"error": error})
        self.state[name] = "draining" if action == "drain" else "ready"
        return httpx2.Response(200, json=self.worker(name))

    def worker(self, name: str) -> dict[str, object]:
        told: dict[str, object] = {
            "instance": name, "state": self.state[name], "engine": "sglang", "version": "1.2",
        }  # fmt: skip
        if name == "gpu1":
            return {**told, **NO_JOBS}
        return told | {
            "running": self.running, "queued": 0, "kv_use": 0.256, "hit_rate": 0.5,
            "event_lag_batches": 12, "lost_batches": 1, "heartbeat_ago_s": 1.04,
        }  # fmt: skip


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api()
    connect: Callable[..., AbstractContextManager[api_calls.OperatorApi]] = api_calls.operator_api

    def connected(url: str | None) -> AbstractContextManager[api_calls.OperatorApi]:
        return connect(url, transport=httpx2.MockTransport(made))

    monkeypatch.setattr(workers, "operator_api", connected)
    monkeypatch.setattr(workers, "POLL_PERIOD_S", 0)
    return made


def lines(captured: pytest.CaptureFixture[str]) -> Generator[list[str]]:
    return (line.split() for line in captured.readouterr().out.splitlines())


def test_instances_are_a_table(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["workers", "ls"]) == 0
    head, first, second = lines(capsys)
    assert head[:3] == ["INSTANCE", "STATE", "ENGINE"]
    assert first == ["gpu0", "ready", "sglang", "1", "0", "26%", "50%", "12!", "1.0", "1.2"]
    assert second == ["gpu1", "ready", "sglang", "0", "0", "0", "1.2"]
    assert api.asked == [("GET", "/v1/workers")]


@pytest.mark.usefixtures("api")
def test_programs_get_a_json_object_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["workers", "ls", "-o", "json"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["instance"], first["hit_rate"], second["hit_rate"]) == ("gpu0", 0.5, None)


def test_drain_returns_at_once(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["workers", "drain", "gpu0"]) == 0
    told = capsys.readouterr()
    assert told.out == "gpu0 draining: 2 running, 0 queued\n"
    assert told.err == ""
    assert api.asked[0] == ("POST", "/v1/workers/gpu0/drain")


def test_drain_waits_until_nothing_runs_there(api: Api) -> None:
    assert run(["workers", "drain", "gpu0", "--wait"]) == 0
    assert api.running == 0


def test_drain_gives_up_when_its_time_is_over(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.running = 99
    assert run(["workers", "drain", "gpu0", "--wait", "--timeout", "0"]) == 1
    assert "not empty after 0 s: gpu0 runs 97" in capsys.readouterr().err


def test_to_drain_the_last_that_takes_jobs_is_allowed_and_warned_of(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["workers", "drain", "gpu0", "gpu1"]) == 0
    assert "no instance is left that takes jobs" in capsys.readouterr().err
    assert run(["workers", "resume", "gpu1"]) == 0
    assert api.state == {"gpu0": "draining", "gpu1": "ready"}


@pytest.mark.usefixtures("api")
def test_an_unknown_instance_is_told_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["workers", "drain", "gpu9"]) == 1
    assert capsys.readouterr().err == (
        "preble: no instance is called 'gpu9'; there are: gpu0, gpu1\n"
    )


@pytest.mark.usefixtures("api")
def test_a_time_without_a_wait_is_wrong_use() -> None:
    assert run(["workers", "drain", "gpu0", "--timeout", "3"]) == 2

"""`preble jobs explain` against an api played by a function."""

import json
import os

import httpx2
import pytest

from preble.cli import jobs, run
from preble.client import Client

PLACED = {
    "id": "job1", "status": "completed", "verdict": "placed_elsewhere", "attempt": 1,
    "summary": "0 of 1000 prompt tokens were reused: placed elsewhere", "prompt_tokens": 1_000,
    "instance": "gpu0", "policy": "preble", "reason": "least_delay",
    "hit_tokens": {"available": 128, "predicted": 64, "resident": 48, "expected": 16,
                   "at_start": 64, "delivered": 0},
    "candidates": [
        {"instance_id": "gpu0", "hit_tokens": 64, "load_s": 0.1, "prefill_s": 0.5,
         "eviction_s": 0.0, "outstanding": 1, "cost": 0.6},
        {"instance_id": "gpu1", "hit_tokens": 128, "load_s": 2.0, "prefill_s": 0.4,
         "eviction_s": 0.25, "outstanding": 9, "cost": 2.65},
    ],
}  # fmt: skip
WAITING = {
    "id": "job2", "status": "waiting", "verdict": "waiting", "summary": "3 jobs ahead",
    "attempt": 0, "prompt_tokens": 10, "new_in_a_later_api": 1,
    "waiting": {"position": 3, "share": 0.19, "runs_alone": False, "instances": 2},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _api(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PREBLE_")]:
        monkeypatch.delenv(name)

    def reply(request: httpx2.Request) -> httpx2.Response:
        told = {"/v1/jobs/job1/explain": PLACED, "/v1/jobs/job2/explain": WAITING}
        if found := told.get(request.url.path):
            return httpx2.Response(200, json=found)
        error = {"message": "no such job", "code": "job_not_found"}
        return httpx2.Response(404, json={"error": error})

    def client(url: str, *, api_key: str) -> Client:
        return Client(url, api_key=api_key, transport=httpx2.MockTransport(reply))

    monkeypatch.setattr(jobs, "Client", client)


def test_the_winner_is_marked_among_what_was_weighed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["jobs", "explain", "job1"]) == 0
    told = capsys.readouterr().out.splitlines()
    hits = "128 available, 64 (16 of them expected) predicted, 64 at start, 0 delivered"
    assert told[:6] == [
        "id        job1",
        "status    completed",
        "verdict   placed_elsewhere: 0 of 1000 prompt tokens were reused: placed elsewhere",
        "instance  gpu0",
        "reason    preble: least_delay",
        f"hits      of 1000 prompt tokens: {hits}",
    ]
    assert [line.split() for line in told[8:]] == [
        ["*", "gpu0", "64", "0.100", "0.500", "0.000", "1", "0.6"],
        ["gpu1", "128", "2.000", "0.400", "0.250", "9", "2.65"],
    ]


def test_what_waits_has_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["jobs", "explain", "job2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "id        job2", "status    waiting", "verdict   waiting: 3 jobs ahead",
    ]  # fmt: skip


def test_json_is_one_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["jobs", "explain", "job1", "job2", "-o", "json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["candidates"] == PLACED["candidates"]
    assert second["waiting"] == WAITING["waiting"]


def test_an_unknown_job_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["jobs", "explain", "job3"]) == 1
    assert "job3" in capsys.readouterr().err

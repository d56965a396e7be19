"""`preble jobs list` and `preble jobs retry` against an api played by a function."""

import io
import json
import os
import sys

import httpx2
import pytest

from preble.cli import jobs, run
from preble.client import Client

NUM_JOBS = 150


@pytest.fixture(autouse=True)
def _no_preble_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PREBLE_")]:
        monkeypatch.delenv(name)


class Api:
    """Jobs that failed, some of them without a prompt; remembers what was asked."""

    def __init__(self) -> None:
        self.lists: list[dict[str, str]] = []
        self.retried: list[str] = []
        self.refusals = {"job3": (409, "prompt_dropped"), "gone": (404, "job_not_found")}

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return self._page(dict(request.url.params))
        job_id = request.url.path.split("/")[-2]
        self.retried.append(job_id)
        status, code = self.refusals.get(job_id, (200, ""))
        if code:
            return httpx2.Response(status, json={"error": {"message": f"no: {code}", "code": code}})
        return httpx2.Response(200, json={"id": job_id, "status": "waiting", "created_at": 1.0})

    def _page(self, query: dict[str, str]) -> httpx2.Response:
        self.lists.append(query)
        first = int(query.get("after", 0))
        last = min(first + int(query["limit"]), NUM_JOBS)
        data = [self._entry(number) for number in range(first, last)]
        return httpx2.Response(200, json={"data": data, "next": last if last < NUM_JOBS else None})

    def _entry(self, number: int) -> dict[str, object]:
        error = {"code": "engine_refused", "message": "too hot"}
        return {"id": f"job{number}", "status": "failed", "created_at": 1.0, "tenant": "acme",
                "prompt_tokens": 12, "error": error, "instance": "gpu0"}  # fmt: skip


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api()

    def client(url: str, *, api_key: str) -> Client:
        return Client(url, api_key=api_key, transport=httpx2.MockTransport(made))

    monkeypatch.setattr(jobs, "Client", client)
    return made


def test_a_list_is_a_table(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["jobs", "list", "--limit", "2"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["ID", "STATUS"]
    assert [row.split() for row in rows] == [
        [f"job{number}", "failed", "1970-01-01T00:00:01Z", "normal", "acme", "12", "engine_refused"]
        for number in range(2)
    ]
    assert [query["limit"] for query in api.lists] == ["2"]


@pytest.mark.parametrize(
    ("flags", "number"),
    [([], 20), (["--limit", "130"], 130), (["--limit", "999"], 150), (["--all"], 150)],
)
def test_so_many_are_printed(
    api: Api, capsys: pytest.CaptureFixture[str], flags: list[str], number: int
) -> None:
    del api
    assert run(["jobs", "list", "-o", "json", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"job{each}" for each in range(number)]


def test_status_and_tenant_are_passed_on(api: Api) -> None:
    assert run(["jobs", "list", "--status", "failed", "--tenant", "acme"]) == 0
    assert api.lists == [{"status": "failed", "tenant": "acme", "limit": "20", "order": "desc"}]


def test_the_named_jobs_run_again(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["jobs", "retry", "job1", "job2"]) == 0
    assert capsys.readouterr().out == "job1 waiting\njob2 waiting\n"
    assert api.retried == ["job1", "job2"]


def test_ids_come_from_stdin_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("job1\njob2\n"))
    assert run(["jobs", "retry", "-"]) == 0
    assert api.retried == ["job1", "job2"]


def test_one_that_cannot_is_told_and_does_not_stop_the_others(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["jobs", "retry", "job3", "gone", "job4"]) == 1
    told = capsys.readouterr()
    assert told.out == "job4 waiting\n"
    assert told.err.splitlines() == [
        "preble: job3: no: prompt_dropped", "preble: gone: no: job_not_found",
    ]  # fmt: skip
    assert api.retried == ["job3", "gone", "job4"]


def test_what_all_would_meet_ends_it(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.refusals["job1"] = (401, "invalid_api_key")
    assert run(["jobs", "retry", "job1", "job2"]) == 1
    assert "invalid_api_key" in capsys.readouterr().err
    assert api.retried == ["job1"]


def test_all_that_failed_run_again_the_oldest_first(api: Api) -> None:
    assert run(["jobs", "retry", "--all-failed", "--tenant", "acme"]) == 1  # job3 cannot
    assert api.retried == [f"job{number}" for number in range(NUM_JOBS)]
    first = {"status": "failed", "tenant": "acme", "limit": "100", "order": "asc"}
    assert api.lists == [first, {**first, "after": "100"}]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["retry"], "--all-failed"), (["retry", "a", "--all-failed"], "--all-failed"),
        (["retry", "a", "--tenant", "acme"], "--tenant"), (["list", "--limit", "0"], "--limit"),
        (["list", "--status", "finished"], "finished"),
    ],
)  # fmt: skip
def test_wrong_use_is_told(
    api: Api, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    assert run(["jobs", *arguments]) == 2
    assert named in capsys.readouterr().err
    assert (api.lists, api.retried) == ([], [])

"""`preble jobs submit` with priorities and tenants: what is sent, in which order ids come back."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from preble.cli import jobs, run
from preble.client import Client
from preble.client.calls import MAX_JOBS_PER_CALL

File = Callable[[list[dict[str, str]]], str]
Sent = list[list[dict[str, object]]]
Keys = list[str]


@pytest.fixture(autouse=True)
def _no_preble_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PREBLE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def keys() -> Keys:
    """The idempotency keys of those calls."""
    return []


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, keys: Keys) -> Sent:
    """The calls to an api that names each job by its prompt, refuses `poison` and dies of `bug`."""
    calls: Sent = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            queue = {"priority": "batch", "tenant": "acme"}
            job = {"id": "a", "status": "waiting", "created_at": 1.0, **queue}
            return httpx2.Response(200, json=job)
        keys.append(request.headers["idempotency-key"])
        call = json.loads(request.content)
        if any(job["prompt"] == "bug" for job in call):
            raise httpx2.ReadError("reset")
        if any(job["prompt"] == "poison" for job in call):
            return httpx2.Response(400, json={"error": {"message": "no poison"}})
        calls.append(call)
        return httpx2.Response(202, json={"data": [{"id": job["prompt"]} for job in call]})

    def client(url: str, *, api_key: str) -> Client:
        transport = httpx2.MockTransport(handler)
        return Client(url, api_key=api_key, retry_for_s=0.0, transport=transport)

    monkeypatch.setattr(jobs, "Client", client)
    return calls


@pytest.fixture
def file_of(tmp_path: Path) -> File:
    """Writes jobs to a file and returns its name."""

    def write(lines: list[dict[str, str]]) -> str:
        file = tmp_path / "jobs.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return str(file)

    return write


def test_a_webhook_is_sent_for_jobs_that_name_none(sent: Sent) -> None:
    assert run(["jobs", "submit", "a", "--webhook", "https://app.example.com/hook"]) == 0
    hook = {"url": "https://app.example.com/hook"}
    assert sent == [[{"webhook": hook, "prompt": "a", "sampling_params": {}}]]


def test_flags_are_sent_for_jobs_that_name_none(sent: Sent, file_of: File) -> None:
    file = file_of([{"prompt": "a"}, {"prompt": "b", "tenant": "own", "priority": "normal"}])
    assert run(["jobs", "submit", "--file", file, "--priority", "high", "--tenant", "acme"]) == 0
    assert run(["jobs", "submit", "c", "--tenant", "acme"]) == 0
    assert sent == [
        [
            {"priority": "high", "tenant": "acme", "prompt": "a"},
            {"priority": "normal", "tenant": "own", "prompt": "b"},
        ],
        [{"tenant": "acme", "prompt": "c", "sampling_params": {}}],
    ]


def test_a_batch_is_sorted_as_a_whole_and_its_ids_come_in_its_own_order(
    sent: Sent, file_of: File, capsys: pytest.CaptureFixture[str]
) -> None:
    """A document's questions are far apart in the file and stand together in the calls."""
    prompts = [f"document {at % 3}, question {at:04}" for at in range(2 * MAX_JOBS_PER_CALL)]
    file = file_of([{"prompt": prompt} for prompt in prompts])
    assert run(["jobs", "submit", "--file", file, "--priority", "batch"]) == 0
    assert [len(call) for call in sent] == [MAX_JOBS_PER_CALL] * 2
    assert [job["prompt"] for call in sent for job in call] == sorted(prompts)
    assert capsys.readouterr().out.splitlines() == prompts


def test_what_is_no_batch_is_sent_in_its_own_order_and_first(
    sent: Sent, file_of: File, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {"prompt": "z", "priority": "batch"}, {"prompt": "b"}, {"prompt": "y", "priority": "batch"},
        {"prompt": "a", "priority": "high"},
    ]  # fmt: skip
    assert run(["jobs", "submit", "--file", file_of(lines)]) == 0
    assert [job["prompt"] for call in sent for job in call] == ["b", "a", "y", "z"]
    assert capsys.readouterr().out.splitlines() == ["z", "b", "y", "a"]


def test_ids_that_were_accepted_are_told_though_a_later_call_fails(
    sent: Sent, file_of: File, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted = [f"a{at}" for at in reversed(range(MAX_JOBS_PER_CALL))]
    lines = [{"prompt": "poison"}, *({"prompt": prompt} for prompt in accepted)]
    assert run(["jobs", "submit", "--file", file_of(lines), "--priority", "batch"]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == accepted
    assert captured.err == "preble: no poison\n"
    assert len(sent) == 1


def test_each_call_has_the_key_of_its_submission_and_its_number(
    sent: Sent, keys: Keys, file_of: File
) -> None:
    file = file_of([{"prompt": str(at)} for at in range(MAX_JOBS_PER_CALL + 1)])
    assert run(["jobs", "submit", "--file", file, "--idempotency-key", "night"]) == 0
    assert keys == ["night-1", "night-2"]
    assert len(sent) == 2


def test_each_command_has_a_key_of_its_own(sent: Sent, keys: Keys) -> None:
    assert run(["jobs", "submit", "a"]) == run(["jobs", "submit", "a"]) == 0
    assert len(set(keys)) == len(sent) == 2


def test_the_key_under_which_to_submit_again_is_told(
    sent: Sent, keys: Keys, file_of: File, capsys: pytest.CaptureFixture[str]
) -> None:
    """That of the whole file: the calls that were answered are found then, too."""
    prompts = [*(str(at) for at in range(MAX_JOBS_PER_CALL)), "bug"]
    assert run(["jobs", "submit", "--file", file_of([{"prompt": each} for each in prompts])]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == prompts[:-1]
    assert f"`{keys[0].removesuffix('-1')}`" in captured.err
    assert len(sent) == 1


def test_an_unknown_priority_is_refused_before_anything_is_sent(sent: Sent) -> None:
    assert run(["jobs", "submit", "a", "--priority", "urgent"]) == 2
    assert sent == []


def test_a_job_is_shown_with_its_priority_and_tenant(
    sent: Sent, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["jobs", "get", "a"]) == 0
    assert "priority  batch\ntenant    acme\n" in capsys.readouterr().out
    assert sent == []

"""`preble batch submit`, `watch`, `fetch` and `cancel` against an api played by a class."""

import json
from email import message_from_bytes
from pathlib import Path
from typing import Any

import httpx2
import pytest
from batch_desk import Desk

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


class BatchApi:
    """Takes one file and one batch, and shows it as it is told to."""

    def __init__(self, *shown: dict[str, Any]) -> None:
        self._shown = list(shown)
        self.file: list[dict[str, Any]] = []
        self.asked: dict[str, Any] = {}
        self.paths: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        self.paths.append(f"{request.method} {path}")
        if path == "/v1/models":
            return httpx2.Response(200, json={"data": [{"id": "m"}]})
        if path == "/v1/files":
            return self._uploaded(request)
        if path.endswith("/content"):
            return httpx2.Response(200, content=f"{path}\n".encode() * 1000)
        if path == "/v1/batches":
            self.asked = json.loads(request.content)
        return httpx2.Response(200, json={"id": "batch_1", **self._next()})

    def _uploaded(self, request: httpx2.Request) -> httpx2.Response:
        body = request.read()
        assert int(request.headers["content-length"]) == len(body)
        kind = request.headers["content-type"].encode()
        form = message_from_bytes(b"Content-Type: " + kind + b"\n\n" + body)
        _, purpose, file = form.walk()
        assert purpose.get_payload() == "batch"
        self.file = [json.loads(line) for line in str(file.get_payload()).splitlines()]
        return httpx2.Response(200, json={"id": "file-1"})

    def _next(self) -> dict[str, Any]:
        shown = self._shown.pop(0) if len(self._shown) > 1 else (self._shown or [{}])[0]
        return {"status": "completed", **shown}


def test_any_input_is_submitted_in_openais_form(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    api = BatchApi({"status": "validating"})
    source = desk.write([{"id": "a", "prompt": "x"}, {"id": "b", "input_ids": [1, 2]}])
    flags = ("--max-new-tokens", "5", "--window", "1h", "--priority", "normal", "--order", "input")
    assert desk.detached(api, "submit", str(source), *flags) == 0
    assert capsys.readouterr().out == "batch_1\n"
    line = {"method": "POST", "url": COMPLETIONS}
    assert api.file == [
        {**line, "custom_id": "a", "body": {"model": "m", "prompt": "x", "max_tokens": 5}},
        {**line, "custom_id": "b", "body": {"model": "m", "prompt": [1, 2], "max_tokens": 5}},
    ]
    assert api.asked == {
        "input_file_id": "file-1", "endpoint": COMPLETIONS, "completion_window": "1h",
        "priority": "normal", "order": "input",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["messages", "prompt"])
def test_logprobs_are_asked_for_as_the_route_knows_them(desk: Desk, kind: str) -> None:
    prompt = [{"role": "user", "content": "x"}] if kind == "messages" else "x"
    row = {"id": "a", kind: prompt, "sampling_params": {"logprobs": 2, "seed": 7}}
    asked = {"logprobs": True, "top_logprobs": 2} if kind == "messages" else {"logprobs": 2}
    line = {
        "custom_id": "b", "method": "POST", "url": CHAT if kind == "messages" else COMPLETIONS,
        "body": {"model": "m", kind: prompt, "max_tokens": 3, **asked},
    }  # fmt: skip
    api = BatchApi()
    assert desk.detached(api, "submit", str(desk.write([row, line]))) == 0
    first, second = (each["body"] for each in api.file)
    assert first == {"model": "m", kind: prompt, "seed": 7, **asked}
    assert second == line["body"]


def test_chats_are_for_the_route_of_chats(desk: Desk) -> None:
    api = BatchApi()
    messages = [{"role": "user", "content": "x"}]
    body = {"model": "own", "messages": messages, "temperature": 0, "max_tokens": 3}
    line = {"custom_id": "a", "method": "POST", "url": CHAT, "body": body}
    source = desk.write([line, {"id": "b", "messages": messages}])
    assert desk.detached(api, "submit", str(source)) == 0
    assert api.file[0] == line
    assert api.file[1]["body"] == {"model": "m", "messages": messages}
    assert api.asked["endpoint"] == CHAT


REFUSED: list[tuple[list[dict[str, Any]], str]] = [
    ([{"prompt": "x"}, {"messages": []}], "row 2 is for /v1/chat/completions, the rows before"),
    ([{"prompt": "x"}, {"no": 1}], "row 2: exactly one of"),
    ([{"prompt": "x", "webhook": {"url": "https://a.b"}}], "row 1: lines of a batch have no"),
    ([{"id": "a", "prompt": "x"}] * 2, "line 2 has the id 'a' of line 1"),
    ([], "the input has no lines"),
]


@pytest.mark.parametrize(("lines", "says"), REFUSED)
def test_what_a_batch_would_refuse_is_not_uploaded(
    desk: Desk, capsys: pytest.CaptureFixture[str], lines: list[dict[str, Any]], says: str
) -> None:
    api = BatchApi()
    assert desk.detached(api, "submit", str(desk.write(lines))) == 2
    assert says in capsys.readouterr().err
    assert "POST /v1/files" not in api.paths


def counts(completed: int, failed: int = 0) -> dict[str, Any]:
    return {"request_counts": {"total": 3, "completed": completed, "failed": failed}}


def test_watching_tells_how_far_it_is_and_how_it_ended(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_sleep(seconds: float) -> None:
        del seconds

    monkeypatch.setattr("time.sleep", no_sleep)
    running = {"status": "in_progress", **counts(1)}
    usage = {"input_tokens": 9, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 4}}
    api = BatchApi(running, running, {**counts(3), "usage": usage})
    assert desk.detached(api, "watch", "batch_1") == 0
    said = capsys.readouterr()
    assert said.err == "batch_1 in_progress: 1 of 3 lines\n"
    assert said.out == "batch_1 completed: 3 of 3 lines, 9 prompt tokens (4 cached)\n"


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        ({"status": "completed", **counts(2, 1)}, 3),
        ({"status": "expired", **counts(1, 2)}, 4),
        ({"status": "cancelled", **counts(1, 0)}, 1),
        ({"status": "failed", "errors": {"data": [{"line": 2, "message": "no"}]}}, 1),
    ],
)
def test_the_status_tells_how_a_batch_ended(
    desk: Desk, capsys: pytest.CaptureFixture[str], shown: dict[str, Any], status: int
) -> None:
    assert desk.detached(BatchApi(shown), "watch", "batch_1") == status
    assert ("preble: line 2: no\n" in capsys.readouterr().err) == ("errors" in shown)


def test_results_are_fetched_into_files(desk: Desk) -> None:
    api = BatchApi({**counts(2, 1), "output_file_id": "file-o", "error_file_id": "file-e"})
    assert desk.detached(api, "fetch", "batch_1", str(desk.out)) == 3
    assert desk.out.read_text() == "/v1/files/file-o/content\n" * 1000
    errors = Path(f"{desk.out}.errors.jsonl")
    assert errors.read_text().startswith("/v1/files/file-e/content\n")
    assert len(list(desk.folder.iterdir())) == 2


def test_what_has_not_ended_is_not_fetched(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    api = BatchApi({"status": "in_progress", **counts(1)})
    assert desk.detached(api, "fetch", "batch_1", str(desk.out)) == 2
    assert "it has not ended; see `preble batch watch`" in capsys.readouterr().err
    assert not desk.out.exists()


def test_a_batch_is_cancelled(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    api = BatchApi({"status": "cancelling", **counts(1)})
    assert desk.detached(api, "cancel", "batch_1") == 0
    assert capsys.readouterr().out == "batch_1 cancelling: 1 of 3 lines\n"
    assert api.paths == ["POST /v1/batches/batch_1/cancel"]


def test_rows_of_a_table_are_submitted_by_a_template(desk: Desk) -> None:
    api = BatchApi()
    source = desk.folder / "in.csv"
    source.write_text("id,word\na,cat\n")
    assert desk.detached(api, "submit", str(source), "--prompt-template", "Define {word}") == 0
    assert api.file[0]["body"] == {"model": "m", "prompt": "Define cat"}

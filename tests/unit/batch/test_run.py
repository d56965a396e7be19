"""`preble batch run` as a user has it: results, errors, resuming, order, bounds, exit status."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from batch_desk import Desk, ids_of, rows_of
from fake_api import Body, FakeApi, job_reply

from preble.batch.parquet import read_rows, write_rows
from preble.cli import run

CHAT = "/v1/chat/completions"
FAILURE = {"error": {"code": "engine_refused", "message": "too hot"}, "result": None}


def failing(*names: str, status: str = "failed") -> FakeApi:
    """An api where the jobs of these prompts end badly."""

    def ends_as(job: Body) -> Body:
        return {"status": status, **FAILURE} if job["prompt"] in names else {}

    return FakeApi(ends_as=ends_as)


def test_every_line_is_answered_once_and_the_run_is_reported(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    report = desk.folder / "report.json"
    source = desk.numbered(700)
    assert desk.run(FakeApi(ends_at_look=2), source, desk.out, "--report", str(report)) == 0
    assert sorted(ids_of(desk.out)) == sorted(ids_of(source))
    row = next(row for row in rows_of(desk.out) if row["id"] == "r7")
    assert row == {
        "id": "r7", "text": "answer to prompt 7", "finish_reason": "stop", "prompt_tokens": 5,
        "cached_tokens": 2, "completion_tokens": 1, "job": row["job"], "key": row["key"],
    }  # fmt: skip
    figures = json.loads(report.read_text())
    assert {name: figures[name] for name in ("lines", "ok", "failed", "left")} == {
        "lines": 700, "ok": 700, "failed": 0, "left": 0,
    }  # fmt: skip
    assert (figures["prompt_tokens"], figures["cached_tokens"]) == (3500, 1400)
    assert (figures["hit_rate"], figures["latency_p50_s"], figures["latency_p99_s"]) == (0.4, 2, 2)
    assert figures["saved_gpu_s"] > 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "700 ok, 0 failed, of 700" in said.err
    assert sorted(path.name for path in desk.folder.iterdir()) == [
        "in.jsonl", "out.jsonl", "report.json",
    ]  # fmt: skip


def test_jobs_are_of_priority_batch_and_come_sorted_by_prompt_in_lists(desk: Desk) -> None:
    api = FakeApi()
    source = desk.write([{"prompt": f"{n % 3} {n}"} for n in range(300)])
    assert desk.run(api, source, desk.out) == 0
    prompts = [job["prompt"] for job in api.jobs.values()]
    assert prompts == sorted(prompts)
    assert {job["priority"] for job in api.jobs.values()} == {"batch"}
    assert api.calls == [256, 44]


def test_unsorted_lines_run_in_their_order(desk: Desk) -> None:
    api = FakeApi()
    source = desk.write([{"prompt": f"{n % 3} {n}"} for n in range(30)])
    assert desk.run(api, source, desk.out, "--no-reorder", "--max-inflight", "4") == 0
    assert [job["prompt"] for job in api.jobs.values()] == [f"{n % 3} {n}" for n in range(30)]
    assert api.most_open == 4


def test_ordered_results_stand_in_the_order_of_the_input(desk: Desk) -> None:
    class Uneven(FakeApi):
        def _looked_at(self, job_id: str) -> Body:
            self.ends_at_look = 5 if int(job_id.removeprefix("job_")) % 7 == 0 else 1
            return super()._looked_at(job_id)

    lines: list[Any] = [{"id": f"r{n}", "prompt": f"{n % 5} {n}"} for n in range(500)]
    lines[40] = {"id": "bad"}
    source = desk.write(lines)
    assert desk.run(Uneven(), source, desk.out, "--ordered", "--max-inflight", "16") == 3
    assert ids_of(desk.out) == [f"r{n}" for n in range(500) if n != 40]


def test_failed_lines_go_to_a_file_of_their_own(desk: Desk) -> None:
    source = desk.write([{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "y"}, {"id": "c"}])
    api = FakeApi(refuses=lambda job: "too long" if job["prompt"] == "y" else "")
    assert desk.run(api, source, desk.out) == 3
    assert ids_of(desk.out) == ["a"]
    rows = {row["id"]: row for row in rows_of(desk.folder / "out.jsonl.errors.jsonl")}
    assert rows["b"]["error"] == {"code": "invalid_value", "message": "too long"}
    assert (rows["b"]["line"], rows["b"]["job"]) == (2, None)
    assert rows["c"]["error"]["code"] == "invalid_line"
    assert rows["c"]["error"]["message"].startswith("row 3: exactly one of")


def test_what_is_done_is_not_done_again_and_what_failed_neither(desk: Desk) -> None:
    source = desk.numbered(10)
    assert desk.run(failing("prompt 3"), source, desk.out) == 3
    again = FakeApi()
    assert desk.run(again, source, desk.out) == 3
    assert again.jobs == {}
    assert len(rows_of(desk.out)) == 9


def test_failed_lines_are_retried_when_asked(desk: Desk) -> None:
    source, errors = desk.numbered(10), desk.folder / "errors.jsonl"
    assert desk.run(failing("prompt 3"), source, desk.out, "--errors", str(errors)) == 3
    assert ids_of(errors) == ["r3"]
    api = FakeApi()
    flags = ("--errors", str(errors), "--retry-failed")
    assert desk.run(api, source, desk.out, *flags) == 0
    assert [job["prompt"] for job in api.jobs.values()] == ["prompt 3"]
    assert len(set(ids_of(desk.out))) == 10
    assert not errors.exists()


def test_a_retried_line_is_a_job_of_its_own(desk: Desk) -> None:
    """Else the job that failed would be found again."""
    source, api = desk.numbered(1), failing("prompt 0")
    for _ in range(2):
        assert desk.run(api, source, desk.out, "--retry-failed") == 3
    assert len(api.jobs) == 2


class Dying(FakeApi):
    """Loses its client when it is asked for the third time."""

    def _ended(self, job_ids: list[str]) -> httpx2.Response:
        if len(self.asked) == 2:
            raise KeyboardInterrupt
        return super()._ended(job_ids)


def test_an_interrupted_run_says_how_to_go_on_and_finds_its_jobs(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, api = desk.numbered(900), Dying()
    monkeypatch.setattr(
        sys, "argv", ["preble", "batch", "run", "in file", "out", "--overwrite", "--ordered"]
    )
    assert desk.run(api, source, desk.out, "--max-inflight", "300") == 130
    assert "go on with: preble batch run 'in file' out --ordered\n" in capsys.readouterr().err
    done = ids_of(desk.out)
    assert 0 < len(done) < 900
    made = len(api.jobs)

    api.asked.clear()
    api.ends_at_look = 1
    again = FakeApi()
    again.jobs, again.by_key, again.open = api.jobs, api.by_key, api.open
    again.numbers = api.numbers
    assert desk.run(again, source, desk.out) == 0
    assert ids_of(desk.out)[: len(done)] == done
    assert sorted(ids_of(desk.out)) == sorted(ids_of(source))
    assert len(again.jobs) == 900, "no job was made twice"
    assert made > len(done)


def test_an_output_of_something_else_is_left_alone(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.out.write_text("my thesis\n")
    assert desk.run(FakeApi(), desk.numbered(2), desk.out) == 2
    assert "line 1 is none that `preble batch run` wrote" in capsys.readouterr().err
    assert desk.out.read_text() == "my thesis\n"


def test_results_of_another_input_are_left_alone(desk: Desk) -> None:
    assert desk.run(FakeApi(), desk.numbered(3), desk.out) == 0
    before = desk.out.read_text()
    changed = desk.write([{"id": "r0", "prompt": "another"}])
    assert desk.run(FakeApi(), changed, desk.out) == 2
    assert desk.run(FakeApi(), changed, desk.out, "--no-resume") == 2
    assert desk.out.read_text() == before
    assert desk.run(FakeApi(), changed, desk.out, "--overwrite") == 0
    assert ids_of(desk.out) == ["r0"]


def test_an_input_that_grew_is_gone_on_with(desk: Desk) -> None:
    assert desk.run(FakeApi(), desk.numbered(3), desk.out) == 0
    api = FakeApi()
    assert desk.run(api, desk.numbered(5), desk.out) == 0
    assert len(api.jobs) == 2
    assert sorted(ids_of(desk.out)) == ["r0", "r1", "r2", "r3", "r4"]


def test_a_torn_last_line_is_run_again(desk: Desk) -> None:
    source = desk.numbered(5)
    assert desk.run(FakeApi(), source, desk.out) == 0
    desk.out.write_bytes(desk.out.read_bytes()[:-10])
    assert desk.run(FakeApi(), source, desk.out) == 0
    assert sorted(ids_of(desk.out)) == ["r0", "r1", "r2", "r3", "r4"]


def test_doubles_are_refused_with_their_lines(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    source = desk.write([{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "x"}] * 2)
    assert desk.run(FakeApi(), source, desk.out) == 2
    assert "line 3 has the id 'a' of line 1" in capsys.readouterr().err
    assert not desk.out.exists()


def test_too_many_failures_end_the_run(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    source = desk.numbered(100)
    api = failing(*(f"prompt {n}" for n in range(50)))
    assert desk.run(api, source, desk.out, "--max-errors", "5", "--max-inflight", "10") == 1
    assert "more than --max-errors 5" in capsys.readouterr().err
    assert len(api.jobs) < 50


def test_deadlines_have_a_status_of_their_own(desk: Desk) -> None:
    source = desk.numbered(3)
    assert desk.run(failing("prompt 1", status="expired"), source, desk.out) == 4


def test_a_run_out_of_time_leaves_the_rest_to_the_next(desk: Desk) -> None:
    class Stuck(FakeApi):
        """Ends nothing that is not cancelled."""

        def __call__(self, request: httpx2.Request) -> httpx2.Response:
            if request.url.path.endswith("/cancel"):
                job_id = request.url.path.split("/")[3]
                self.open.discard(job_id)
                self.cancelled.add(job_id)
            return super().__call__(request)

        cancelled: set[str] = set()  # noqa: RUF012 - one api in this test

        def _shown(self, job_id: str) -> Body:
            told = super()._shown(job_id)
            is_cancelled = job_id in self.cancelled
            return {**told, "status": "cancelled", "result": None} if is_cancelled else told

    source, api = desk.numbered(5), Stuck(ends_at_look=10**9)
    assert desk.run(api, source, desk.out, "--deadline", "0.001") == 4
    assert len(api.cancelled) == len(api.jobs) == 5
    assert rows_of(desk.out) == []
    api.ends_at_look = 1
    assert desk.run(api, source, desk.out) == 0
    assert len(rows_of(desk.out)) == 5
    assert len(api.jobs) == 10, "what was cancelled is not found again"


def test_a_lost_job_is_made_again_once(desk: Desk) -> None:
    class Forgetful(FakeApi):
        """Forgets jobs as often as it is told."""

        left = 1

        def _ended(self, job_ids: list[str]) -> httpx2.Response:
            if self.left:
                self.left -= 1
                for job_id in job_ids:
                    del self.jobs[job_id]
                self.by_key.clear()
            return super()._ended(job_ids)

    assert desk.run(Forgetful(), desk.numbered(3), desk.out) == 0
    api = Forgetful()
    api.left = 2
    assert desk.run(api, desk.numbered(3), desk.out, "--overwrite") == 3
    errors = rows_of(desk.folder / "out.jsonl.errors.jsonl")
    assert {row["error"]["code"] for row in errors} == {"result_expired"}


def test_rows_of_ours_tell_the_logprobs_that_they_asked_for(desk: Desk) -> None:
    told = [{"token_id": 4, "logprob": -0.5, "top": [{"token_id": 5, "logprob": -0.25}]}]

    def ends_as(job: Body) -> Body:
        asked = job.get("sampling_params", {}).get("logprobs") is not None
        result = job_reply("j")["result"]
        return {"result": {**result, "logprobs": told}} if asked else {}

    rows = [{"id": "a", "prompt": "x", "sampling_params": {"logprobs": 1}}, {"prompt": "y"}]
    assert desk.run(FakeApi(ends_as=ends_as), desk.write(rows), desk.out) == 0
    answers = {row["id"]: row for row in rows_of(desk.out)}
    assert answers["a"]["logprobs"] == told
    assert "logprobs" not in answers["2"]


def test_openai_lines_are_answered_in_their_form(desk: Desk) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    line = {"method": "POST", "url": CHAT}
    lines: list[Body] = [
        {**line, "custom_id": "a", "body": body},
        {**line, "custom_id": "b", "body": {**body, "tools": [{}]}},
    ]
    source = desk.write(lines)
    assert desk.run(FakeApi(), source, desk.out) == 3
    [row] = rows_of(desk.out)
    assert (row["custom_id"], row["error"], row["response"]["status_code"]) == ("a", None, 200)
    answer = row["response"]["body"]
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"].startswith("answer to")
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    [error] = rows_of(desk.folder / "out.jsonl.errors.jsonl")
    assert (error["custom_id"], error["error"]["code"]) == ("b", "invalid_line")
    assert desk.run(FakeApi(), source, desk.out) == 3
    assert len(rows_of(desk.out)) == 1


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_are_read_written_and_resumed(desk: Desk, suffix: str) -> None:
    pytest.importorskip("pyarrow")
    lines = desk.write([{"id": f"r{n}", "word": f"word {n}"} for n in range(50)])
    source, out = desk.folder / f"in.{suffix}", desk.folder / f"out.{suffix}"
    to_table(lines, source)
    flags = ("--prompt-template", "Define {word}", "--max-errors", "0")
    api = failing("Define word 9")
    assert desk.run(api, source, out, *flags) == 1
    assert not out.exists()
    api = FakeApi()
    assert desk.run(api, source, out, *flags, "--retry-failed") == 0
    rows = from_table(out)
    assert sorted(row["id"] for row in rows) == sorted(f"r{n}" for n in range(50))
    assert {row["text"] for row in rows} >= {"answer to Define word 7"}
    assert not list(desk.folder.glob("*.rows.jsonl"))
    again = FakeApi()
    assert desk.run(again, source, out, *flags) == 0
    assert again.jobs == {}
    assert from_table(out) == rows


def to_table(lines: Path, path: Path) -> None:
    rows = rows_of(lines)
    if path.suffix == ".parquet":
        write_rows(str(path), rows)
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def from_table(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(read_rows(str(path)))
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_stdin_to_stdout(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "id,text\na,one\nb,two\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert desk.run(FakeApi(), "-", "-", "--format", "csv", "--progress", "none") == 0
    said = capsys.readouterr()
    rows = {row["id"]: row["text"] for row in csv.DictReader(io.StringIO(said.out))}
    assert rows == {"a": "answer to one", "b": "answer to two"}
    assert said.err == ""


def test_failed_lines_of_a_pipe_are_told_on_stderr(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    source = desk.write([{"id": "a", "prompt": "x"}, {"id": "b"}])
    assert desk.run(FakeApi(), source, "-", "--progress", "none") == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["id"] == "a"
    assert json.loads(said.err)["id"] == "b"
    assert [path.name for path in desk.folder.iterdir()] == ["in.jsonl"]


def test_a_parquet_file_cannot_go_to_stdout(desk: Desk) -> None:
    pytest.importorskip("pyarrow")
    assert desk.run(FakeApi(), desk.numbered(1), "-", "--format", "parquet") == 2


def test_without_pyarrow_it_is_said_how_to_get_it(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert desk.run(FakeApi(), desk.numbered(1), desk.folder / "out.parquet") == 2
    assert "pip install 'preble[parquet]'" in capsys.readouterr().err


def test_progress_as_json_is_a_line_each_time(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.run(FakeApi(), desk.numbered(9), desk.out, "--progress", "json") == 0
    first = json.loads(capsys.readouterr().err.splitlines()[0])
    assert (first["lines"], first["ended"], first["open"]) == (9, 9, 0)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--workers", "2"), "--workers is of a server started here, and one is named"),
        (("--no-resume", "--overwrite"), "not both"),
        (("--prompt-template", "no field"), "--prompt-template"),
        (("--sampling-params", "top_p"), "--sampling-params is no JSON object"),
        (("--format", "xml"), "--format"),
    ],
)
def test_wrong_use_is_told(
    desk: Desk, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], says: str
) -> None:
    assert desk.run(FakeApi(), desk.numbered(1), desk.out, *flags) == 2
    assert says in capsys.readouterr().err
    assert not desk.out.exists()


def test_a_missing_input_is_told(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.run(FakeApi(), desk.folder / "no.jsonl", desk.out) == 2
    assert "no.jsonl: no such file" in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_told_at_once(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    source = desk.numbered(1)
    assert run(["batch", "run", str(source), str(desk.out), "--url", "nonsense"]) == 2
    assert "no URL of an api" in capsys.readouterr().err

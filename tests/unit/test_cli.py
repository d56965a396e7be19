"""The command line: flags become settings, errors are one line with the right exit status."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from preble import __version__
from preble.cli import jobs, processes, run
from preble.client import Client
from preble.config import Settings
from preble.errors import BrokerUnavailable, ConfigError

COMMANDS = (
    ["serve"],
    ["api"],
    ["scheduler"],
    ["worker"],
    ["demo"],
    ["config", "show"],
    ["config", "check"],
    ["workers", "ls"],
    ["workers", "drain"],
    ["workers", "resume"],
    ["cache", "tree"],
    ["doctor"],
    ["jobs", "submit"],
    ["jobs", "get"],
    ["jobs", "wait"],
    ["jobs", "cancel"],
    ["jobs", "list"],
    ["jobs", "retry"],
    ["batch", "run"],
    ["batch", "submit"],
    ["batch", "watch"],
    ["batch", "fetch"],
    ["batch", "cancel"],
)


@pytest.fixture(autouse=True)
def _no_preble_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PREBLE_")]:
        monkeypatch.delenv(name)


class Executed(Exception):
    """Raised in place of replacing the process."""

    def __init__(self, arguments: list[str], environ: dict[str, str]) -> None:
        super().__init__()
        self.arguments = arguments
        self.environ = environ


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Executed]:
    """Runs a command that becomes another process, and returns what it would become."""

    def execve(_: str, arguments: list[str], environ: dict[str, str]) -> None:
        raise Executed(arguments, environ)

    def execute(*arguments: str) -> Executed:
        with pytest.raises(Executed) as raised:
            run(arguments)
        return raised.value

    monkeypatch.setattr(os, "execve", execve)
    return execute


def use_api(
    monkeypatch: pytest.MonkeyPatch, handler: Callable[[httpx2.Request], httpx2.Response]
) -> None:
    """Let `preble jobs` talk to a function."""

    def client(url: str, *, api_key: str) -> Client:
        return Client(url, api_key=api_key, transport=httpx2.MockTransport(handler))

    monkeypatch.setattr(jobs, "Client", client)


def completed(job_id: str) -> httpx2.Response:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 4}
    result = {
        "text": f"answer {job_id}",
        "finish_reason": "stop",
        "usage": usage,
        "ttft_s": 0.1,
        "engine_s": 0.2,
    }
    return httpx2.Response(
        200, json={"id": job_id, "status": "completed", "created_at": 1.0, "result": result}
    )


def answer_each(request: httpx2.Request) -> httpx2.Response:
    """An api whose jobs are completed at once, named job0, job1, …"""
    if request.url.path == "/v1/jobs/ended":
        jobs = [completed(job_id).json() for job_id in request.url.params["ids"].split(",")]
        return httpx2.Response(200, json={"data": jobs, "missing": []})
    if request.method == "GET":
        return completed(request.url.path.rsplit("/", 1)[1])
    data = [{"id": f"job{number}"} for number, _ in enumerate(json.loads(request.content))]
    return httpx2.Response(202, json={"data": data})


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--help"]) == 0

    assert capsys.readouterr().out.startswith(f"Usage: preble {' '.join(command)} ")


@pytest.mark.parametrize("group", [[], ["jobs"]])
def test_without_a_command_the_commands_are_listed(
    group: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(group) == 2

    assert "Commands:\n" in capsys.readouterr().err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0

    assert capsys.readouterr().out == f"preble {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonsense"], "nonsense"),
        (["serve", "--port", "many"], "--port"),
        (["serve", "--port", "70000"], "port"),
        (["serve", "--engine", "abacus"], "abacus"),
        (["api", "--context-length", "0"], "context_length"),
        (["jobs", "get"], "ID"),
        (["jobs", "get", "job1", "--url", "localhost"], "localhost"),
        (["jobs", "submit"], "--file"),
        (["jobs", "submit", "text", "--file", "x"], "--file"),
        (["jobs", "submit", "--file", "x", "--temperature", "0"], "sampling_params"),
        (["jobs", "submit", "--file", "/does/not/exist"], "/does/not/exist"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2

    said = capsys.readouterr().err
    assert said.startswith("preble: ")
    assert said.count("\n") == 1
    assert named in said


def test_unknown_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREBLE_PROT", "1")

    assert run(["config", "show"]) == 2
    assert "PREBLE_PROT: did you mean PREBLE_PORT?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"), [(ConfigError("two\nlines"), 2), (BrokerUnavailable("gone"), 1)]
)
def test_expected_error_is_one_line(
    error: Exception,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(processes, "serve_until_stopped", fail)

    assert run(["serve"]) == status
    assert capsys.readouterr().err.count("\n") == 1


def test_interrupt_is_told_by_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "serve_until_stopped", interrupt)

    assert run(["serve"]) == 130


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("api", "preble_api"),
        ("scheduler", "preble.scheduler_process"),
        ("worker", "preble_workers"),
    ],
)
def test_application_is_executed_as_a_module(
    command: str, module: str, executed: Callable[..., Executed]
) -> None:
    became = executed(command, "--pool", "blue")

    assert became.arguments == [sys.executable, "-m", module]
    assert became.environ["PREBLE_POOL"] == "blue"


def test_flag_wins_over_environment(
    executed: Callable[..., Executed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREBLE_PORT", "1111")
    monkeypatch.setenv("PREBLE_SLOTS", "7")

    became = executed("api", "--port", "2222")

    assert (became.environ["PREBLE_PORT"], became.environ["PREBLE_SLOTS"]) == ("2222", "7")


@pytest.mark.parametrize(
    ("flags", "variable", "embedded"),
    [
        ([], None, True),
        (["--redis-url", "redis://host/0"], None, False),
        ([], "redis://host/0", False),
    ],
)
def test_named_redis_replaces_the_embedded_one(
    flags: list[str],
    variable: str | None,
    embedded: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[str, bool]] = []

    def serve(settings: Settings, *, embedded: bool) -> None:
        told.append((settings.redis_url, embedded))

    monkeypatch.setattr(processes, "serve_until_stopped", serve)
    if variable:
        monkeypatch.setenv("PREBLE_REDIS_URL", variable)

    assert run(["serve", *flags]) == 0
    assert [is_embedded for _, is_embedded in told] == [embedded]


def test_submit_prints_one_id(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bodies: list[bytes] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        bodies.append(request.content)
        return answer_each(request)

    use_api(monkeypatch, handler)

    assert run(["jobs", "submit", "Two and two is", "--max-new-tokens", "3"]) == 0
    assert capsys.readouterr().out == "job0\n"
    assert json.loads(bodies[0]) == [
        {"prompt": "Two and two is", "sampling_params": {"max_new_tokens": 3}}
    ]


def test_submit_reads_a_prompt_from_stdin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_api(monkeypatch, answer_each)
    monkeypatch.setattr(sys, "stdin", io.StringIO("Two and two is"))

    assert run(["jobs", "submit", "-", "-o", "json"]) == 0
    assert capsys.readouterr().out == '{"id":"job0"}\n'


def test_submit_takes_a_file_of_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_api(monkeypatch, answer_each)
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"prompt": "one"}\n\n{"input_ids": [1, 2]}\n')

    assert run(["jobs", "submit", "--file", str(file)]) == 0
    assert capsys.readouterr().out == "job0\njob1\n"


def test_wrong_line_of_a_file_is_named_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_api(monkeypatch, lambda _: pytest.fail("nothing may be sent"))
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"prompt": "one"}\n{"prompt": \n')

    assert run(["jobs", "submit", "--file", str(file)]) == 2
    assert "line 2" in capsys.readouterr().err


def test_refused_job_is_told_in_the_words_of_the_api(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"message": "prompt: must not be empty", "code": "invalid_value", "param": "prompt"}
    use_api(monkeypatch, lambda _: httpx2.Response(400, json={"error": error}))

    assert run(["jobs", "submit", ""]) == 1
    assert capsys.readouterr().err == "preble: prompt: must not be empty\n"


def test_get_describes_a_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_api(monkeypatch, answer_each)

    assert run(["jobs", "get", "job7"]) == 0
    said = capsys.readouterr().out
    assert "status    completed\n" in said
    assert "9 prompt (4 cached), 2 output" in said
    assert "answer job7" in said


def test_wait_prints_the_answer_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_api(monkeypatch, answer_each)

    assert run(["jobs", "wait", "job7"]) == 0
    assert capsys.readouterr().out == "answer job7\n"


def test_wait_takes_ids_from_a_pipe_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_api(monkeypatch, answer_each)
    monkeypatch.setattr(sys, "stdin", io.StringIO("job2\njob1\n"))

    assert run(["jobs", "wait", "-", "-o", "json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["id"] for row in rows] == ["job2", "job1"]


def test_failed_job_makes_wait_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = {"code": "engine_refused", "message": "too long"}
    reply = {"id": "job7", "status": "failed", "created_at": 1.0, "error": failure}
    found = {"data": [reply], "missing": []}
    use_api(monkeypatch, lambda _: httpx2.Response(200, json=found))

    assert run(["jobs", "wait", "job7"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "preble: job job7 failed: engine_refused: too long\n"


def test_demo_passes_its_flags_on_and_installs_nothing_for_engines_that_need_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Settings] = []

    def run_demo(settings: Settings, console: object, json_file: object) -> bool:
        del console, json_file
        told.append(settings)
        return True

    monkeypatch.setattr(processes, "run_demo", run_demo)

    assert run(["demo", "--install", "--engine", "emulated", "--workers", "3"]) == 0
    assert [(each.engine, each.workers) for each in told] == [("emulated", 3)]


def test_jobs_are_cancelled_one_after_another(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        _, job_id, _ = request.url.path.rsplit("/", 2)
        status = "completed" if job_id == "job2" else "cancelled"
        return httpx2.Response(200, json={"id": job_id, "status": status, "created_at": 1.0})

    use_api(monkeypatch, answer)

    assert run(["jobs", "cancel", "job1", "job2"]) == 0

    assert capsys.readouterr().out == "job1 cancelled\njob2 completed\n"

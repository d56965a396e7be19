"""`preble config`, and what the shell is offered."""

import json
import os
from pathlib import Path

import httpx2
import pytest

from preble.cli import completion, run
from preble.cli.setting_texts import setting_help
from preble.config import Settings


@pytest.fixture(autouse=True)
def _no_preble_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PREBLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "mine.toml"
    made.write_text('slots = 7\napi_key = "s3cret"\n')
    return made


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, str]]:
    assert run(["config", "show", *arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    return {row["name"]: row for row in printed["settings"]}


def test_each_setting_is_shown_with_value_origin_and_help(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREBLE_REDIS_URL", "rediss://u:pw@host/0?password=pw2&x=1")
    rows = shown(capsys, "--config", str(file), "--port", "9000")

    assert rows.keys() == set(Settings.__struct_fields__)
    assert (rows["port"]["value"], rows["port"]["origin"]) == ("9000", "--port")
    assert (rows["slots"]["value"], rows["slots"]["origin"]) == ("7", str(file))
    assert (rows["api_key"]["value"], rows["api_key"]["origin"]) == ("***", str(file))
    assert rows["redis_url"]["origin"] == "PREBLE_REDIS_URL"
    assert "pw" not in rows["redis_url"]["value"].replace("password", "")
    assert rows["host"]["origin"] == "default"
    assert rows["cost_model"]["origin"] == "default with engine sglang"
    assert all(row["help"] for row in rows.values())


def test_people_get_a_line_for_the_value_and_one_for_the_meaning(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "show", "slots", "--config", str(file)]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"slots  7  {file}", "    Jobs that run in the engine at once."
    ]  # fmt: skip
    assert told.err == f"TOML: {file}\n"


def test_an_unknown_name_is_named_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "show", "slosts"]) == 2
    assert "unknown setting slosts: did you mean slots?" in capsys.readouterr().err


def test_secrets_in_engine_arguments_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    os.environ["PREBLE_ENGINE_ARGS"] = "--api-key hidden --mem 3"
    try:
        rows = shown(capsys)
    finally:
        del os.environ["PREBLE_ENGINE_ARGS"]
    assert rows["engine_args"]["value"] == "--api-key *** --mem 3"


def test_a_file_is_checked_without_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREBLE_SLOTS", "0")
    assert run(["config", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: 2 settings, all known and in range\n"

    file.write_text("slots = 0")
    assert run(["config", "check", str(file)]) == 2
    assert f"{file}: slots: expected `int` >= 1" in capsys.readouterr().err


def test_the_example_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[2] / "examples" / "preble.toml"
    assert run(["config", "check", str(example)]) == 0
    assert "all known" in capsys.readouterr().out


def test_every_setting_says_what_it_means() -> None:
    texts = setting_help()
    assert texts.keys() == set(Settings.__struct_fields__)
    assert texts["auth"].startswith("Whether clients must send a key: always, or, `auto`, unless")


# Completion.


def test_names_are_completed() -> None:
    assert completion.policies("le") == ["least_outstanding"]
    assert completion.settings("max_tenant_j") == ["max_tenant_jobs"]


def test_instances_are_asked_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREBLE_API_KEY", "k")

    def get(url: str, *, headers: dict[str, str], timeout: float) -> httpx2.Response:
        assert (url, headers) == ("http://127.0.0.1:8000/v1/workers", {"Authorization": "Bearer k"})
        assert timeout <= 2
        return httpx2.Response(200, json={"data": [{"instance": "gpu0"}, {"instance": "cpu0"}]})

    monkeypatch.setattr(httpx2, "get", get)
    assert completion.instances("g") == ["gpu0"]


def test_without_an_api_nothing_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> httpx2.Response:
        raise httpx2.ConnectError("no")

    def forbid(*_: object, **__: object) -> httpx2.Response:
        return httpx2.Response(403, json={})

    monkeypatch.setattr(httpx2, "get", refuse)
    assert completion.instances("") == []
    monkeypatch.setattr(httpx2, "get", forbid)
    assert completion.instances("") == []


def test_the_shell_is_offered_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_PREBLE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "preble config show slot")
    monkeypatch.setenv("COMP_CWORD", "3")
    with pytest.raises(SystemExit):
        run([])
    assert capsys.readouterr().out.split() == ["slots"]

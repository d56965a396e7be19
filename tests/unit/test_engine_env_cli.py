"""`preble engine`: one line for what is wrong, facts for people and for programs."""

import json
from pathlib import Path

import pytest

from preble import engine_env
from preble.cli import engine, run
from preble.engine_env import EngineEnvError, env_folder
from preble.engine_env.info import EngineFacts, Facts, ModelFacts


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without engines."""
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("command", ["install", "info", "remove"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["engine", command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: preble engine {command} ")


@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (["install"], 2, "kind"),
        (["install", "tpu"], 2, "tpu"),
        (["remove", "cpu"], 1, "not installed"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], status: int, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["engine", *arguments]) == status

    said = capsys.readouterr().err
    assert said.startswith("preble: ")
    assert said.count("\n") == 1
    assert named in said


@pytest.mark.parametrize(
    ("error", "status"), [(EngineEnvError("disk full"), 1), (KeyboardInterrupt(), 130)]
)
def test_failed_installation_is_told_by_the_status(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(engine_env, "install", fail)

    assert run(["engine", "install", "cpu"]) == status


def test_info_is_one_json_object(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["engine", "info", "-o", "json"]) == 0

    facts = json.loads(capsys.readouterr().out)
    assert [(one["kind"], one["installed"]) for one in facts["engines"]] == [
        ("cpu", False),
        ("gpu", False),
        ("vllm-cpu", False),
    ]
    assert facts["model"]["made"] is False
    assert facts["engines"][0]["folder"].startswith(str(home))


def test_info_for_people_says_what_to_do() -> None:
    cpu = EngineFacts(
        kind="cpu", installed=True, folder="/f/cpu", size_bytes=2 * 1024**3,
        versions={"sglang": "1.2", "torch": "3.4"}, why_not="",
    )  # fmt: skip
    gpu = EngineFacts(
        kind="gpu", installed=False, folder="/f/gpu", size_bytes=0, versions={},
        why_not="no NVIDIA driver is loaded",
    )  # fmt: skip
    model = ModelFacts(name="Smol", made=False, folder="/f/m", size_bytes=0, fingerprint="abc")

    said = "\n".join(
        engine.describe(Facts(engines=(cpu, gpu), model=model, cpu="a CPU", cpus=2, gpus=()))
    )

    assert "installed, 2,048 MiB: sglang 1.2, torch 3.4" in said
    assert "cannot run here: no NVIDIA driver is loaded" in said
    assert "Smol: not made" in said


def test_remove_takes_the_model_too(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = env_folder("cpu", {"HOME": str(home)})
    model = home / ".cache/preble/models/SmolLM2-135M-Instruct"
    for folder in (env, model):
        folder.mkdir(parents=True)

    assert run(["engine", "remove", "cpu", "--model"]) == 0

    assert not env.exists()
    assert not model.exists()
    assert "removed" in capsys.readouterr().out

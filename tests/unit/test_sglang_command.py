"""The command line and the environment of a supervised SGLang server."""

import json
from pathlib import Path
from typing import Literal

import pytest

from preble.config import Settings
from preble.errors import ConfigError
from preble_workers.sglang_command import ServerPlace, server_command, server_environ

PYTHON = Path("/engines/gpu/bin/python")
PLACE = ServerPlace(30_001, Path("/run/preble-x"))
SETTINGS = Settings(
    model="qwen", model_path="/models/qwen", context_length=4096, page_size=32, chunk_tokens=512,
    slots=7, kv_capacity_tokens=9000, tp_size=2,
)  # fmt: skip


def options(settings: Settings, kind: Literal["cpu", "gpu"] = "gpu") -> dict[str, str]:
    """Each option with the word after it."""
    command = server_command(settings, PYTHON, kind, PLACE)
    return {
        name: value
        for name, value in zip(command, [*command[1:], ""], strict=True)
        if name.startswith("--")
    }


def test_the_interpreter_runs_sglangs_server() -> None:
    command = server_command(SETTINGS, PYTHON, "gpu", PLACE)
    assert command[:4] == (str(PYTHON), "-P", "-m", "sglang.launch_server")


def test_the_settings_become_options() -> None:
    found = options(SETTINGS)
    wanted = {
        "--model-path": "/models/qwen",
        "--served-model-name": "qwen",
        "--context-length": "4096",
        "--page-size": "32",
        "--chunked-prefill-size": "512",
        "--max-running-requests": "7",
        "--max-total-tokens": "9000",
        "--tp-size": "2",
        "--schedule-policy": "fcfs",
    }
    assert {name: found.get(name) for name in wanted} == wanted


def test_no_capacity_leaves_it_to_the_server() -> None:
    assert "--max-total-tokens" not in options(Settings(kv_capacity_tokens=0))


def test_it_listens_on_loopback_and_in_its_folder_only() -> None:
    found = options(SETTINGS)
    assert (found["--host"], found["--port"]) == ("127.0.0.1", "30001")
    assert PLACE.url == "http://127.0.0.1:30001"
    events = json.loads(found["--kv-events-config"])
    assert events["publisher"] == "zmq"
    assert events["endpoint"] == "ipc:///run/preble-x/events"
    assert events["replay_endpoint"] == "ipc:///run/preble-x/replay"


def test_a_cpu_server_is_told_so() -> None:
    assert options(SETTINGS, "cpu")["--device"] == "cpu"
    assert "--device" not in options(SETTINGS, "gpu")


def test_more_arguments_come_last_and_whole() -> None:
    extra = "--attention-backend triton --chat-template 'a b.jinja' --mem-fraction-static=0.5"
    settings = Settings(engine_args=extra)
    assert server_command(settings, PYTHON, "gpu", PLACE)[-5:] == (
        "--attention-backend", "triton", "--chat-template", "a b.jinja",
        "--mem-fraction-static=0.5",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("argument", "setting"),
    [
        ("--model-path /x", "model_path"),
        ("--model /x", "model_path"),
        ("--tokenizer-path /x", "tokenizer"),
        ("--context-length=1", "context_length"),
        ("--page_size 1", "page_size"),
        ("--device cuda", "device"),
        ("--tp-size 2", "tp_size"),
        ("--tensor-parallel-size=2", "tp_size"),
        ("--max-running-requests 1", "slots"),
        ("--max-total-tokens 1", "kv_capacity_tokens"),
        ("--trust-remote-code --chunked-prefill-size 1", "chunk_tokens"),
    ],
)
def test_what_is_a_setting_is_refused_with_its_name(argument: str, setting: str) -> None:
    with pytest.raises(ConfigError, match=f"Preble's setting {setting}; use that"):
        options(Settings(engine_args=argument))


@pytest.mark.parametrize(
    "name",
    [
        "--host", "--port", "--kv-events-config", "--schedule-policy", "--disable-radix-cache",
        "--dp-size", "--data-parallel-size", "--nnodes", "--disaggregation-mode", "--api-key",
    ],
)  # fmt: skip
def test_what_preble_relies_on_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"engine_args: {name} cannot be set"):
        options(Settings(engine_args=f"--trust-remote-code {name}=x"))


@pytest.mark.parametrize("argument", ["--tp 2", "--dp=2", "--context-len 1", "--disable-radix"])
def test_a_shortened_name_is_refused_like_the_whole(argument: str) -> None:
    with pytest.raises(ConfigError, match="engine_args"):
        options(Settings(engine_args=argument))


def test_arguments_that_no_shell_would_take_are_refused() -> None:
    with pytest.raises(ConfigError, match="engine_args: No closing quotation"):
        options(Settings(engine_args="--x 'y"))


def environ(settings: Settings, **inherited: str) -> dict[str, str]:
    return server_environ(settings, inherited, cores=8)


def test_the_environment_is_passed_on_without_prebles_own() -> None:
    settings = Settings(model_path="org/model")
    assert environ(settings, PATH="/bin", PREBLE_API_KEY="secret") == {
        "PATH": "/bin",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "4",
    }


def test_what_slows_or_breaks_a_server_is_left_out() -> None:
    names = environ(Settings(), SGLANG_USE_CPU_ENGINE="1", PYTHONDONTWRITEBYTECODE="1").keys()
    assert names.isdisjoint({"SGLANG_USE_CPU_ENGINE", "PYTHONDONTWRITEBYTECODE"})


@pytest.mark.parametrize(("workers", "threads"), [(1, "8"), (3, "2"), (20, "1")])
def test_the_servers_share_the_cores(workers: int, threads: str) -> None:
    assert environ(Settings(workers=workers))["OMP_NUM_THREADS"] == threads


def test_a_number_of_threads_that_was_given_counts() -> None:
    assert environ(Settings(), OMP_NUM_THREADS="5")["OMP_NUM_THREADS"] == "5"


def test_a_server_sees_its_own_gpus_only() -> None:
    found = environ(Settings(gpu="2,3"), CUDA_VISIBLE_DEVICES="0,1,2,3")
    assert found["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert found["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID", "numbers mean what nvidia-smi shows"
    found = environ(Settings(), CUDA_VISIBLE_DEVICES="1")
    assert found["CUDA_VISIBLE_DEVICES"] == "1"


def test_a_model_in_a_folder_needs_no_hub(tmp_path: Path) -> None:
    assert environ(Settings(model_path=str(tmp_path)))["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in environ(Settings(model_path="org/model"))

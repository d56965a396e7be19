"""What the supervisor decides: order, restarts, and with which settings children run."""

import sys

import pytest

from preble.config import Settings, load_settings
from preble.errors import ConfigError
from preble.serve.plan import application_children, worker_settings
from preble.serve.processes import Role
from preble.serve.restarts import (
    LONGEST_DELAY_S,
    SETTLED_S,
    count_failure,
    may_restart,
    restart_delay_s,
)
from preble.serve.supervisor import ending, reason


def test_delay_doubles_up_to_its_cap() -> None:
    delays = [restart_delay_s(failures) for failures in range(1, 8)]

    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, LONGEST_DELAY_S, LONGEST_DELAY_S]


def test_delay_stays_capped_after_a_night_of_failures() -> None:
    assert restart_delay_s(100_000) == LONGEST_DELAY_S


def test_long_life_clears_the_record() -> None:
    assert count_failure(7, lived_s=SETTLED_S) == 1


def test_short_life_adds_to_the_record() -> None:
    assert count_failure(7, lived_s=SETTLED_S - 1) == 8


@pytest.mark.parametrize(("status", "again"), [(0, True), (1, True), (-9, True), (2, False)])
def test_configuration_error_is_not_cured_by_a_restart(status: int, again: bool) -> None:  # noqa: FBT001
    assert may_restart(status) is again


def test_children_start_with_the_workers_and_end_with_the_api() -> None:
    children = application_children(Settings(workers=2), {})

    assert [child.name for child in children] == ["gpu0", "gpu1", "scheduler", "api"]
    roles = [child.role for child in children]
    assert roles == sorted(roles)
    assert min(Role) is Role.REDIS


def test_children_are_told_their_settings_through_the_environment() -> None:
    inherited = {"HOME": "/home/user", "PREBLE_SLOTS": "7"}

    worker = application_children(Settings(slots=9, workers=1), inherited)[0]

    assert worker.command == (sys.executable, "-m", "preble_workers")
    assert worker.environ["HOME"] == "/home/user"
    told = load_settings({k: v for k, v in worker.environ.items() if k.startswith("PREBLE_")})
    assert (told.slots, told.instance) == (9, "gpu0")


def test_http_engine_gets_one_worker_for_each_url() -> None:
    settings = Settings(
        engine="http", engine_url="http://a:1, http://b:2", tokenizer="/model", workers=5
    )

    told = [(each.instance, each.engine_url) for each in worker_settings(settings)]

    assert told == [("gpu0", "http://a:1"), ("gpu1", "http://b:2")]


def test_devices_get_one_worker_for_each_group() -> None:
    settings = Settings(devices="0,1; 2,3;", tp_size=2, workers=5)

    told = [(each.instance, each.gpu, each.workers) for each in worker_settings(settings)]

    assert told == [("gpu0", "0,1", 2), ("gpu1", "2,3", 2)]


def test_without_devices_each_worker_has_the_gpu_that_was_set() -> None:
    told = [(each.instance, each.gpu) for each in worker_settings(Settings(gpu="1", workers=2))]

    assert told == [("gpu0", "1"), ("gpu1", "1")]


@pytest.mark.parametrize(
    ("devices", "tp_size", "group"), [("0,1", 1, "0,1"), ("0,1;2", 2, "2"), ("0;1,2", 1, "1,2")]
)
def test_a_group_of_another_size_is_refused(devices: str, tp_size: int, group: str) -> None:
    with pytest.raises(ConfigError, match=f"devices: group '{group}' is not of tp_size {tp_size}"):
        worker_settings(Settings(devices=devices, tp_size=tp_size))


def test_workers_are_told_their_gpus_through_the_environment() -> None:
    children = application_children(Settings(devices="3;5", model_path="m"), {})

    assert [child.environ.get("PREBLE_GPU") for child in children[:2]] == ["3", "5"]


def test_devices_of_engines_that_run_elsewhere_are_refused() -> None:
    settings = Settings(engine="http", engine_url="http://a:1", tokenizer="/model", devices="0;1")

    with pytest.raises(ConfigError):
        worker_settings(settings)


def test_http_engine_without_url_is_refused() -> None:
    with pytest.raises(ConfigError, match="--engine-url"):
        worker_settings(Settings(engine="http"))


def test_http_engine_needs_the_tokenizer_of_its_model() -> None:
    with pytest.raises(ConfigError, match="--tokenizer"):
        worker_settings(Settings(engine="http", engine_url="http://a:1"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("preble-api: no such folder", "no such folder"),
        ("2026-11-22T17:00:00.123Z ERROR worker gpu0: no such folder", "no such folder"),
        ("Error: unlike the others", "Error: unlike the others"),
    ],
)
def test_reason_of_a_refusal_is_told_without_log_prefix(line: str, said: str) -> None:
    assert reason(line) == said


def test_ending_names_the_signal() -> None:
    assert ending(-9) == "was killed by SIGKILL"
    assert ending(-40) == "was killed by signal 40"
    assert ending(3) == "ended with status 3"

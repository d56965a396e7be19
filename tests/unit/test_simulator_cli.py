"""`preble simulate` and `preble plot`, from the command line."""

import json
import sys
from pathlib import Path

import pytest

from preble.cli import run

SMALL = (
    "simulate", "--workload", "toolbench", "--requests", "24", "--instances", "2", "--jobs", "1",
    "--kv-capacity-tokens", "50000",
)  # fmt: skip
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two policies at two rates, with a timeline."""
    file = tmp_path_factory.mktemp("simulated") / "result.json"
    flags = ("--policy", "e2,round_robin", "--rps", "4,8", "--timeline", "0.5")
    assert run([*SMALL, *flags, "--json", str(file)]) == 0
    return file


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that wrong usage is told in."""
    assert run(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("command", ["simulate", "plot"])
def test_commands_explain_themselves(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert f"Usage: preble {command}" in capsys.readouterr().out


def test_a_table_goes_to_stdout_and_nothing_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SMALL, "--policy", "e2", "--rps", "4"]) == 0
    printed = capsys.readouterr()
    assert "toolbench on 2 x mistral_7b_a6000" in printed.out
    assert "e2" in printed.out
    assert not printed.err


def test_json_has_settings_seeds_version_and_figures(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--policy", "e2", "--rps", "4", "--seed", "7", "--seeds", "2", "--chunk", "512")
    assert run([*SMALL, *flags, "--json", "-"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["version"]
    assert document["plan"]["seeds"] == [7, 8]
    assert document["plan"]["pool"]["engine"]["chunk_tokens"] == 512
    assert [one["seed"] for one in document["runs"]] == [7, 8]
    assert document["runs"][0]["latency_s"]["p99"] > 0


def test_csv_is_written_beside_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "runs.csv"
    assert run([*SMALL, "--policy", "e2", "--rps", "4", "--csv", str(file)]) == 0
    assert len(file.read_text().splitlines()) == 2
    assert "e2" in capsys.readouterr().out


def test_both_bindings_are_compared_in_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--policy", "e2", "--rps", "4", "--binding", "eager,late", "--batch-window", "9")
    assert run([*SMALL, *flags]) == 0
    assert "e2, late" in capsys.readouterr().out


def test_a_batch_shows_its_makespan_beside_that_of_the_sorted_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([*SMALL, "--policy", "e2", "--offline", "random", "--json", "-"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["runs"]
    assert one["makespan_s"] > 0
    assert one["makespan_reference_s"] > 0
    assert run([*SMALL, "--policy", "e2", "--offline", "sorted"]) == 0
    assert "makespan" in capsys.readouterr().out


def test_tenants_and_drain_are_shown_where_they_apply(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--workload", "tenants", "--policy", "e2", "--rps", "4", "--burst", "2,1,2")
    assert run([*SMALL, *flags]) == 0
    out = capsys.readouterr().out
    assert "interactive" in out
    assert "drain s" in out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--trace", "t"], "give either --workload or --trace"),
        (["--rps", "1", "--load", "1"], "give --rps or --load, not both"),
        (["--rps", "1,x"], "--rps takes numbers"),
        (["--load", "0"], "--load takes numbers above 0"),
        (["--rps", "nan"], "--rps takes numbers above 0"),
        (["--policy", "e3"], "no policy is named 'e3'; there are: preble, e2"),
        (["--gpu", "abacus"], "no cost model 'mistral_7b_abacus'"),
        (["--speeds", "1"], "--speeds has 1 numbers for 2 instances"),
        (["--kv-capacity-tokens", "10"], "exceeds the KV cache of 10"),
        (["--csv", "/nowhere/x.csv"], "cannot write /nowhere/x.csv"),
        (["--binding", "later"], "no binding is named 'later'; there are: eager, late"),
        (["--offline", "sorted", "--rps", "1"], "have no --rps and no --load"),
        (["--burst", "1,2"], "'1,2' is no burst"),
        (["--changes", "die"], "'die' is no change"),
        (["--changes", "die@1:0,die@1:1"], "no instance is left"),
        (["--chunk", "0"], "Invalid value for '--chunk'"),
    ],
)
def test_wrong_usage_is_one_line(
    flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in complaint([*SMALL, *flags], capsys)


@pytest.mark.parametrize("figure", ["latency", "hit_rate", "imbalance", "timeline"])
def test_pictures_are_drawn(figure: str, result: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    assert run(["plot", str(result), "-o", str(picture), "--figure", figure]) == 0
    assert picture.read_bytes().startswith(PNG)


def test_a_timeline_must_have_been_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plain.json"
    assert run([*SMALL, "--policy", "e2", "--rps", "4", "--json", str(file)]) == 0
    capsys.readouterr()
    arguments = ["plot", str(file), "-o", str(tmp_path / "p.png"), "--figure", "timeline"]
    assert "simulate with --timeline" in complaint(arguments, capsys)


def test_what_is_no_report_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "other.json"
    file.write_text('{"runs": 1}')
    assert "is no report" in complaint(["plot", str(file), "-o", "p.png"], capsys)
    assert "cannot read" in complaint(["plot", str(tmp_path / "none"), "-o", "p.png"], capsys)


def test_pictures_of_no_known_kind_are_refused(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = str(tmp_path / "picture.doc")
    assert f"cannot write {picture}" in complaint(["plot", str(result), "-o", picture], capsys)


def test_without_matplotlib_the_extra_is_named(
    result: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install 'preble[plot]'" in complaint(["plot", str(result), "-o", "p.png"], capsys)

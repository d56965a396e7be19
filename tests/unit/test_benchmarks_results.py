"""From cells to files: rows are kept, compared and written down."""

from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.cells import Cell, plan
from benchmarks.figures import draw
from benchmarks.pages import page
from benchmarks.spec import Column, Comparison, Contender, Experiment, Scenario
from benchmarks.store import Row, Store, Values, row
from benchmarks.summary import Summary
from preble.simulator.outcome import PoolSettings
from preble.simulator.run import EngineSettings
from preble.simulator.source import Source

MEAN = Column("mean s", "mean_s")
ENGINE = EngineSettings(cost_model="mistral_7b_a6000", kv_capacity_tokens=20_000)
CONTENDERS = tuple(
    Contender(name=name, policy="least_outstanding") for name in ("ours", "good", "bad")
)
SCENARIO = Scenario(
    name="tools",
    sources=(Source(workload="toolbench", num_requests=40),),
    pool=PoolSettings(policy="e2", engine=ENGINE, speeds=(1.0, 1.0)),
    contenders=CONTENDERS,
    loads=(0.5, 1.0),
)
EXPERIMENT = Experiment(
    name="small", title="Small", about="Small.", scenarios=(SCENARIO,), seeds=2, columns=(MEAN,),
    comparison=Comparison(ours=("ours",), others=("good", "bad"), values=(MEAN,), note="Read."),
    chart=(MEAN,),
)  # fmt: skip


def mean_row(contender: str, seed: int, mean_s: float, load: float = 0.5) -> Row:
    key = f"{contender}{seed}{load}"
    return Row(key, "tools", contender, load, seed, {"mean_s": mean_s, "rps": 2.0})


def rows(**means_s: tuple[float, float]) -> list[Row]:
    return [
        mean_row(contender, seed, mean_s)
        for contender, both in means_s.items()
        for seed, mean_s in enumerate(both, start=1)
    ]


# The store.


def test_rows_are_found_again(tmp_path: Path) -> None:
    file = tmp_path / "small.jsonl"
    (first, second) = rows(ours=(1.0, 2.0))
    store = Store(file)
    store.add(first)
    store.add(second)
    assert list(Store(file).rows.values()) == [first, second]


def test_a_line_cut_short_is_dropped_and_the_rest_kept(tmp_path: Path) -> None:
    file = tmp_path / "small.jsonl"
    (first, second) = rows(ours=(1.0, 2.0))
    store = Store(file)
    store.add(first)
    store.add(second)
    file.write_bytes(file.read_bytes()[:-20])
    assert list(Store(file).rows.values()) == [first]


def test_a_cell_measured_anew_replaces_the_old_row(tmp_path: Path) -> None:
    file = tmp_path / "small.jsonl"
    store = Store(file)
    store.add(mean_row("ours", 1, 1.0))
    store.add(mean_row("ours", 1, 3.0))
    assert Store(file).rows["ours10.5"].values["mean_s"] == 3.0


def test_tidying_leaves_what_is_planned_in_its_order(tmp_path: Path) -> None:
    file = tmp_path / "small.jsonl"
    store = Store(file)
    for each in rows(ours=(1.0, 2.0), bad=(3.0, 4.0)):
        store.add(each)
    kept = store.tidy(["bad10.5", "not measured", "ours10.5"])
    assert [each.key for each in kept] == ["bad10.5", "ours10.5"]
    assert list(Store(file).rows.values()) == kept


def test_values_are_written_with_five_digits() -> None:
    cell = next(iter(plan(EXPERIMENT).cells.values()))
    assert row(cell, {"mean_s": 1.23456789, "rps": 123456.7}).values == {
        "mean_s": 1.2346,
        "rps": 123460.0,
    }


# What is compared.


def test_the_best_of_the_others_is_the_one_of_least_mean() -> None:
    summary = Summary(rows(ours=(1.0, 2.0), good=(2.0, 4.0), bad=(1.0, 9.0)))
    versus = summary.versus("tools", 0.5, "mean_s", ours="ours", others=["bad", "good"])
    assert versus is not None
    assert (versus.best, versus.interval.ratio) == ("good", 0.5)


def test_only_seeds_that_both_met_are_compared() -> None:
    only_first = [mean_row("good", 1, 4.0)]
    summary = Summary([*rows(ours=(2.0, 100.0)), *only_first])
    versus = summary.versus("tools", 0.5, "mean_s", ours="ours", others=["good"])
    assert versus is not None
    assert versus.interval.ratio == 0.5


def test_what_was_not_measured_is_compared_with_nothing() -> None:
    summary = Summary(rows(ours=(1.0, 2.0)))
    assert summary.versus("tools", 0.5, "mean_s", ours="ours", others=["good"]) is None
    assert summary.versus("tools", 0.7, "mean_s", ours="ours", others=["ours"]) is None


# Pages and figures.


def test_a_loss_beyond_doubt_is_bold_and_a_gain_is_not() -> None:
    won = page(EXPERIMENT, Summary(rows(ours=(1.0, 2.0), good=(2.0, 4.0))))
    assert "| tools | 50% | `good` | -50.0 % (-50.0 to -50.0) |" in won
    lost = page(EXPERIMENT, Summary(rows(ours=(3.0, 6.0), good=(2.0, 4.0))))
    assert "| tools | 50% | `good` | **+50.0 % (+50.0 to +50.0)** |" in lost
    unsure = page(EXPERIMENT, Summary(rows(ours=(1.0, 6.0), good=(2.0, 4.0))))
    assert "**" not in unsure


def test_a_page_has_the_mean_over_seeds_at_each_load() -> None:
    high = [mean_row("ours", seed, 10.0, load=1.0) for seed in (1, 2)]
    text = page(EXPERIMENT, Summary([*rows(ours=(1.0, 2.0), bad=(5.0, 7.0)), *high]))
    assert "|  | 50% (2.00/s) | 100% (2.00/s) |" in text
    assert "| `ours` | 1.50 | 10.00 |" in text
    assert "| `bad` | 6.00 | - |" in text


def test_a_scenario_that_was_not_measured_is_named() -> None:
    assert "Not measured: tools." in page(EXPERIMENT, Summary([]))


def test_a_figure_is_drawn_of_what_there_is(tmp_path: Path) -> None:
    draw(EXPERIMENT, Summary(rows(ours=(1.0, 2.0), bad=(5.0, 70.0))), tmp_path / "small.png")
    assert (tmp_path / "small.png").read_bytes().startswith(b"\x89PNG")
    draw(EXPERIMENT, Summary([]), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


# The command.


def test_the_command_measures_what_lacks_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"small": EXPERIMENT}
    monkeypatch.setattr("benchmarks.__main__.EXPERIMENTS", small)
    command = ["small", "--quick", "--jobs", "1", "--out", str(tmp_path)]
    assert main([*command, "--only", "good"]) == 0
    first = (tmp_path / "small.jsonl").read_bytes()
    assert main(command) == 0
    second = (tmp_path / "small.jsonl").read_bytes()
    assert {b"good"} == {name for name in (b"ours", b"good", b"bad") if name in first}
    assert set(first.splitlines()) < set(second.splitlines())
    assert main(command) == 0
    assert (tmp_path / "small.jsonl").read_bytes() == second
    assert "`ours`" in (tmp_path / "small.md").read_text()
    assert (tmp_path / "small.png").exists()


def test_who_asks_for_fewer_seeds_throws_none_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.__main__.EXPERIMENTS", {"small": EXPERIMENT})
    command = ["small", "--quick", "--jobs", "1", "--out", str(tmp_path), "--only", "tools/good"]
    assert main([*command, "--seeds", "3"]) == 0
    rows = (tmp_path / "small.jsonl").read_bytes()
    assert main([*command, "--seeds", "1"]) == 0
    assert (tmp_path / "small.jsonl").read_bytes() == rows


def test_what_is_measured_anew_is_only_what_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.__main__.EXPERIMENTS", {"small": EXPERIMENT})
    command = ["small", "--quick", "--jobs", "1", "--seeds", "1", "--out", str(tmp_path)]
    assert main(command) == 0
    measured: list[str] = []

    def note(cell: Cell, _rps: float | None, _folder: Path | None) -> Values:
        measured.append(cell.contender)
        return {"mean_s": 7.0}

    monkeypatch.setattr("benchmarks.runner.measure", note)
    assert main([*command, "--anew", "--only", "*/b*"]) == 0
    assert measured == ["bad", "bad"]
    assert main(command) == 0
    assert measured == ["bad", "bad"]
    assert "| `bad` | 7.00 | 7.00 |" in (tmp_path / "small.md").read_text()


def test_a_missing_trace_is_told_and_left_out_and_comes_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    line = '{"timestamp": %d, "input_length": 600, "output_length": 4, "hash_ids": [%d, %d]}\n'
    traced = Scenario(
        name="traced", sources=(Source(trace="mine.jsonl"),), pool=SCENARIO.pool,
        contenders=CONTENDERS[:1], rps=2.0,
    )  # fmt: skip
    experiment = Experiment(
        name="small", title="Small", about="Small.", scenarios=(traced,), seeds=1,
        columns=(MEAN,), chart=(MEAN,),
    )  # fmt: skip
    monkeypatch.setattr("benchmarks.__main__.EXPERIMENTS", {"small": experiment})
    command = ["small", "--jobs", "1", "--out", str(tmp_path / "out")]
    (tmp_path / "traces").mkdir()
    assert main([*command, "--traces", str(tmp_path / "traces")]) == 0
    assert "there is no mine.jsonl" in caplog.text
    assert "Not measured: traced." in (tmp_path / "out" / "small.md").read_text()
    rows = "".join(line % (3_000 * n, n, 100 + n) for n in range(20))
    (tmp_path / "traces" / "mine.jsonl").write_text(rows)
    assert main([*command, "--traces", str(tmp_path / "traces")]) == 0
    assert "Not measured" not in (tmp_path / "out" / "small.md").read_text()

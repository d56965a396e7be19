# matplotlib leaves many keywords without types:
# pyright: reportUnknownMemberType=false
"""Pictures of a report, by matplotlib: the optional extra `plot`."""

from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final, Literal

from preble.errors import ConfigError
from preble.simulator.matrix import Report
from preble.simulator.report import Figures
from preble.simulator.tables import title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ChartName = Literal["latency", "hit_rate", "imbalance", "timeline"]

_COLORS: Final = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999",
)  # fmt: skip
"""Okabe and Ito's, told apart by colour-blind readers too."""
_MARKERS: Final = "osD^vPX*"
_WIDTH: Final = 10.0
_LEGEND_COLUMNS: Final = 5
_LEAST_TOP: Final = 1.5
"""Of an imbalance's axis, so that a hundredth looks like one."""
_LOG_FROM: Final = 10.0
"""Latencies that differ by more than this factor are drawn on a log scale."""


def draw(report: Report, chart: ChartName, file: Path) -> None:
    """Write a picture; the file's ending says which kind.

    Raises:
        ConfigError: If matplotlib is missing, the report lacks what the chart shows, or the
            file cannot be written.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise ConfigError("drawing needs matplotlib: pip install 'preble[plot]'") from None
    figure = Figure(layout="constrained")
    figure.suptitle(title(report), fontsize="medium")
    _CHARTS[chart](figure, report)
    try:
        figure.savefig(file, dpi=150)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot write {file}: {error}") from None


# Charts over the load.


def _latency(figure: "Figure", report: Report) -> None:
    mean, tail = _two(figure)
    _curves(mean, report, lambda run: run.latency_s.mean)
    _curves(tail, report, lambda run: run.latency_s.p99)
    _bound(mean, report, lambda run: run.mean_latency_bound_s, "no schedule is below")
    mean.set_title("mean E2E latency, s")
    tail.set_title("p99 E2E latency, s")
    for axes, value in ((mean, _mean_latency_s), (tail, _p99_latency_s)):
        _scale(axes, [value(run) for run in report.runs])
    _legend(figure, mean)


def _hit_rate(figure: "Figure", report: Report) -> None:
    figure.set_size_inches(_WIDTH * 0.65, 4.5)
    axes = figure.add_subplot()
    _curves(axes, report, lambda run: 100 * run.hit_rates.delivered)
    _bound(axes, report, lambda run: 100 * run.hit_rates.bound, "infinite cache")
    axes.set_title("hit rate delivered, %")
    axes.set_ylim(0, 100)
    _legend(figure, axes)


def _imbalance(figure: "Figure", report: Report) -> None:
    prefill, busy = _two(figure)
    _curves(prefill, report, lambda run: run.prefill_imbalance)
    _curves(busy, report, lambda run: run.busy_imbalance)
    prefill.set_title("prefill tokens computed, most / mean of the instances")
    busy.set_title("busy seconds, most / mean of the instances")
    for axes in (prefill, busy):
        axes.set_ylim(1.0, max(_LEAST_TOP, axes.get_ylim()[1]))
    _legend(figure, prefill)


def _mean_latency_s(run: Figures) -> float:
    return run.latency_s.mean


def _p99_latency_s(run: Figures) -> float:
    return run.latency_s.p99


def _two(figure: "Figure") -> tuple["Axes", "Axes"]:
    figure.set_size_inches(_WIDTH, 4.2)
    return figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)


def _curves(axes: "Axes", report: Report, value: Callable[[Figures], float]) -> None:
    """A line for each policy, and around it all that the seeds gave."""
    for index, (policy, runs) in enumerate(_by_policy(report)):
        loads = _by_load(runs)
        means = [fmean(map(value, each)) for each in loads.values()]
        color, marker = _COLORS[index % len(_COLORS)], _MARKERS[index % len(_MARKERS)]
        axes.plot(list(loads), means, color=color, marker=marker, label=policy)
        lowest = [min(map(value, each)) for each in loads.values()]
        highest = [max(map(value, each)) for each in loads.values()]
        axes.fill_between(list(loads), lowest, highest, color=color, alpha=0.15, linewidth=0)
    axes.set_xlabel(_load_label(report))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _bound(axes: "Axes", report: Report, value: Callable[[Figures], float], label: str) -> None:
    loads = _by_load(report.runs)
    bounds = [fmean(map(value, each)) for each in loads.values()]
    axes.plot(list(loads), bounds, color="black", linestyle=":", label=label)


def _legend(figure: "Figure", axes: "Axes") -> None:
    """Below the charts, where no curve runs through it."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=_LEGEND_COLUMNS, frameon=False)


def _scale(axes: "Axes", values: list[float]) -> None:
    if max(values) > _LOG_FROM * min(values) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")


def _by_policy(report: Report) -> list[tuple[str, list[Figures]]]:
    names = dict.fromkeys(run.name for run in report.runs)
    return [(name, [run for run in report.runs if run.name == name]) for name in names]


def _by_load(runs: Iterable[Figures]) -> dict[float, list[Figures]]:
    """By percent of the load, or by rate; ascending. A trace's own rate varies a little."""
    ordered = sorted(runs, key=_load)
    return {load: list(same) for load, same in groupby(ordered, key=_load)}


def _load(run: Figures) -> float:
    return round(run.rps, 2) if run.load is None else 100 * run.load


def _load_label(report: Report) -> str:
    return "requests/s" if report.sustained_rps is None else "% load"


# The timeline.


def _timeline(figure: "Figure", report: Report) -> None:
    """Waiting and running at the highest load, with the first seed: a row for each policy."""
    last = _load(max(report.runs, key=_load))
    runs = [_by_load(runs)[last][0] for _, runs in _by_policy(report)]
    if not all(run.timeline for run in runs):
        raise ConfigError("the report has no timeline: simulate with --timeline 1")
    figure.set_size_inches(_WIDTH, 1 + 2 * len(runs))
    grid = figure.subplots(len(runs), 2, sharex=True, sharey="col", squeeze=False)
    grid[0, 0].set_title(f"waiting, a line for each instance, at {last:g} {_load_label(report)}")
    grid[0, 1].set_title("running")
    for (waiting, running), run in zip(grid, runs, strict=True):
        times_s = [sample.at_s for sample in run.timeline]
        _instances(waiting, times_s, [sample.waiting for sample in run.timeline])
        _instances(running, times_s, [sample.running for sample in run.timeline])
        waiting.set_ylabel(run.name)
    for axes in grid[-1]:  # its scales are those of the column
        axes.set_xlabel("seconds")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)


def _instances(axes: "Axes", times_s: list[float], numbers: list[tuple[int, ...]]) -> None:
    for index, series in enumerate(zip(*numbers, strict=True)):
        axes.plot(times_s, series, linewidth=0.8, color=_COLORS[index % len(_COLORS)])
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


_CHARTS: Final[dict[ChartName, Callable[["Figure", Report], None]]] = {
    "latency": _latency,
    "hit_rate": _hit_rate,
    "imbalance": _imbalance,
    "timeline": _timeline,
}

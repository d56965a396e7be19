# matplotlib leaves many keywords without types:
# pyright: reportUnknownMemberType=false
"""An experiment's picture: figures over the load with the seeds' range, or bars without loads."""

import math
from itertools import product, zip_longest
from pathlib import Path
from statistics import fmean
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.spec import Column, Contender, Experiment, Scenario
from benchmarks.summary import Summary

_COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, told apart by colour-blind readers too."""
_LINES: Final = ("-", "--", ":")
"""One after the other, when colours run out."""
_WIDTH: Final = 4.5
"""Of a picture, in inches."""
_CURVES_HEIGHT: Final = 2.8
_BAR_HEIGHT: Final = 0.22
_DPI: Final = 80
_LEGEND_COLUMNS: Final = 4
_MANY: Final = 4
"""With more scenarios, two stand beside each other."""
_LOG_FROM: Final = 10.0
"""Values that differ by more than this factor are drawn on a log scale."""
_OURS: Final = "preble"


def draw(experiment: Experiment, summary: Summary, file: Path) -> None:
    """Write a PNG: for each scenario that was measured a picture of each figure."""
    scenarios = [each for each in experiment.scenarios if summary.has(each.name)]
    pictures = list(product(scenarios, experiment.chart))
    if not pictures:
        return
    has_curves = any(len(scenario.loads) > 1 for scenario in scenarios)
    columns = len(experiment.chart) * (2 if len(scenarios) > _MANY else 1)
    rows = math.ceil(len(pictures) / columns)
    most_bars = max(len(scenario.contenders) for scenario in scenarios)
    height = _CURVES_HEIGHT if has_curves else 1.0 + _BAR_HEIGHT * most_bars
    figure = Figure(figsize=(_WIDTH * columns, height * rows + 1), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, picture in zip_longest(grid.flat, pictures):
        _draw(axes, picture, summary)
    if has_curves:
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=_LEGEND_COLUMNS, frameon=False
        )
    figure.savefig(file, dpi=_DPI, pil_kwargs={"optimize": True})


def _draw(axes: Axes, picture: tuple[Scenario, Column] | None, summary: Summary) -> None:
    """Nothing where the last row has more places than pictures."""
    if picture is None:
        axes.set_axis_off()
        return
    scenario, column = picture
    (_curves if len(scenario.loads) > 1 else _bars)(axes, scenario, column, summary)
    axes.set_title(f"{scenario.name}: {column.head}", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)


def _curves(axes: Axes, scenario: Scenario, column: Column, summary: Summary) -> None:
    """A line for each contender that has the figure."""
    drawn: list[float] = []
    for index, contender in enumerate(scenario.contenders):
        found = {
            100 * load: summary.values(scenario.name, contender.name, load, column.value)
            for load in scenario.loads
        }
        if seeds := {load: values for load, values in found.items() if values}:
            drawn += _curve(axes, index, contender, seeds)
    axes.set_xlabel("% load")
    if drawn and max(drawn) > _LOG_FROM * min(drawn) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    else:
        axes.set_ylim(bottom=0)


def _curve(
    axes: Axes, index: int, contender: Contender, seeds: dict[float, list[float]]
) -> list[float]:
    """The means by load, and around them all that the seeds gave. Returns: the means."""
    loads, means = list(seeds), list(map(fmean, seeds.values()))
    color, line = _COLORS[index % len(_COLORS)], _LINES[index // len(_COLORS) % len(_LINES)]
    width = 2.2 if contender.policy == _OURS else 1.2
    axes.plot(
        loads, means, color=color, linestyle=line, marker=".", linewidth=width,
        label=contender.name,
    )  # fmt: skip
    lowest, highest = list(map(min, seeds.values())), list(map(max, seeds.values()))
    axes.fill_between(loads, lowest, highest, color=color, alpha=0.12, linewidth=0)
    return means


def _bars(axes: Axes, scenario: Scenario, column: Column, summary: Summary) -> None:
    """A bar for each contender that has the figure, its whisker from least to most."""
    load = scenario.loads[0] if scenario.loads else None
    for contender in reversed(scenario.contenders):
        values = summary.values(scenario.name, contender.name, load, column.value)
        if values:
            mean = fmean(values)
            whisker = [[mean - min(values)], [max(values) - mean]]
            color = _COLORS[0] if contender.policy == _OURS else "#999999"
            axes.barh(contender.name, mean, xerr=whisker, color=color)

"""A report as a table for people, and as CSV for programs."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from statistics import fmean
from typing import Final

import msgspec
from msgspec.structs import asdict
from rich.table import Table

from preble.simulator.matrix import Report
from preble.simulator.report import Figures


@dataclass(frozen=True)
class _Column:
    title: str
    value: Callable[[Figures], float]
    form: str


_COLUMNS: Final[tuple[_Column, ...]] = (
    _Column("req/s", lambda run: run.rps, ".2f"),
    _Column("mean s", lambda run: run.latency_s.mean, ".2f"),
    _Column("at least", lambda run: run.mean_latency_bound_s, ".2f"),
    _Column("p50 s", lambda run: run.latency_s.p50, ".2f"),
    _Column("p99 s", lambda run: run.latency_s.p99, ".1f"),
    _Column("TTFT s", lambda run: run.ttft_s.mean, ".2f"),
    _Column("TPOT ms", lambda run: 1000 * run.tpot_s.mean, ".1f"),
    _Column("wait s", lambda run: run.wait_s.mean, ".2f"),
    _Column("hits", lambda run: run.hit_rates.delivered, ".1%"),
    _Column("at most", lambda run: run.hit_rates.bound, ".1%"),
    _Column("imbalance", lambda run: run.prefill_imbalance, ".2f"),
    _Column("done/s", lambda run: run.requests_per_s, ".2f"),
    _Column("retracted", lambda run: run.retractions, ",.0f"),
)


def table(report: Report) -> Table:
    """A line for each policy and load: means over the seeds."""
    shown = Table(title=title(report), title_justify="left")
    shown.add_column("policy")
    shown.add_column("load", justify="right")
    for column in _COLUMNS:
        shown.add_column(column.title, justify="right")
    seeds = len(report.plan.seeds)
    for first in range(0, len(report.runs), seeds):
        runs = report.runs[first : first + seeds]
        share = "" if runs[0].load is None else f"{runs[0].load:.0%}"
        shown.add_row(runs[0].policy, share, *_cells(runs))
    return shown


def to_csv(report: Report) -> str:
    """A line for each run; the columns are the fields of `Figures` that are no lists."""
    rows = [_flat(run) for run in report.runs]
    text = StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cells(runs: Sequence[Figures]) -> list[str]:
    return [format(fmean(map(column.value, runs)), column.form) for column in _COLUMNS]


def title(report: Report) -> str:
    """What was simulated, in a line."""
    plan = report.plan
    source = plan.source.workload or plan.source.trace
    engine = plan.pool.engine
    title = f"{source} on {len(plan.pool.speeds)} x {engine.cost_model}"
    if report.sustained_rps is not None:
        title += f"; load 100% = {report.sustained_rps:.2f} req/s"
    return title


def _flat(run: Figures) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in asdict(run).items():
        if isinstance(value, msgspec.Struct):
            flat |= {f"{name}_{part}": number for part, number in asdict(value).items()}
        elif not isinstance(value, tuple):
            flat[name] = value
    return flat

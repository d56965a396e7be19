"""A report as a table for people, and as CSV for programs."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from math import inf
from statistics import fmean
from typing import Final

import msgspec
from msgspec.structs import asdict
from rich.table import Table

from preble.simulator.matrix import Report
from preble.simulator.report import Figures
from preble.simulator.tenants import TenantFigures


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

_OFFLINE: Final[tuple[_Column, ...]] = (
    _Column("makespan s", lambda run: run.makespan_s, ".1f"),
    _Column("of sorted", lambda run: run.makespan_s / (run.makespan_reference_s or 1), ".2f"),
)
"""Of requests that come all at once; the second as a multiple of the reference."""


def _drain_s(run: Figures) -> float:
    return inf if run.drain is None or run.drain.drain_s is None else run.drain.drain_s


_BURST: Final = (_Column("drain s", _drain_s, ".0f"),)


def table(report: Report) -> Table:
    """A line for each policy and load: means over the seeds."""
    source = report.plan.source
    columns = _COLUMNS + (_OFFLINE if source.offline else ()) + (_BURST if source.burst else ())
    shown = Table(title=title(report), title_justify="left")
    shown.add_column("policy")
    shown.add_column("load", justify="right")
    for column in columns:
        shown.add_column(column.title, justify="right")
    for runs in _lines(report):
        shown.add_row(runs[0].name, _share(runs[0]), *_cells(runs, columns))
    return shown


def tenants_table(report: Report) -> Table:
    """A line for each policy, load and tenant: means over the seeds; no line for one tenant."""
    shown = Table("policy", title="tenants", title_justify="left")
    titles = ("load", "tenant", "mean s", "p99 s", "wait s", "wait p50", "wait p99", "contended")
    for name in titles:
        shown.add_column(name, justify="left" if name == "tenant" else "right")
    for runs in _lines(report):
        for tenant in runs[0].tenants:
            each = [run.tenants[tenant] for run in runs]
            shown.add_row(runs[0].name, _share(runs[0]), tenant, *_tenant_cells(each))
    return shown


def _tenant_cells(each: Sequence[TenantFigures]) -> Iterator[str]:
    for seconds in (
        [one.latency_s.mean for one in each],
        [one.latency_s.p99 for one in each],
        [one.wait_s.mean for one in each],
        [one.wait_s.p50 for one in each],
        [one.wait_s.p99 for one in each],
    ):
        yield f"{fmean(seconds):.2f}"
    shares = [one.contended_share for one in each if one.contended_share is not None]
    yield f"{fmean(shares):.0%}" if shares else "-"


def _lines(report: Report) -> Iterator[Sequence[Figures]]:
    """The runs that differ by their seed only."""
    seeds = len(report.plan.seeds)
    for first in range(0, len(report.runs), seeds):
        yield report.runs[first : first + seeds]


def _share(run: Figures) -> str:
    return "" if run.load is None else f"{run.load:.0%}"


def to_csv(report: Report) -> str:
    """A line for each run; the columns are the fields of `Figures` that are no lists."""
    rows = [_flat(run) for run in report.runs]
    text = StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cells(runs: Sequence[Figures], columns: Sequence[_Column]) -> list[str]:
    return [format(fmean(map(column.value, runs)), column.form) for column in columns]


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
        elif not isinstance(value, tuple | dict):
            flat[name] = value
    return flat

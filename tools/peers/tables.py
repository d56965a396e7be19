"""The comparisons as Markdown tables: medians over seeds, with their range."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import TypeVar

from tools.peers.matches import Match
from tools.peers.mocker import DynamoMatch

Row = TypeVar("Row", Match, DynamoMatch)
Figure = Callable[[Row], float | None]
Column = tuple[str, tuple[Figure[Row], ...]]
"""Its head, and what stands in a cell: the real one and then the copy, or one figure."""

_ROUTERS: Sequence[Column[Match]] = (
    ("hit rate", (lambda row: row.real.hit_rate, lambda row: row.copy.hit_rate)),
    ("mean s", (lambda row: row.real.mean_latency_s, lambda row: row.copy.mean_latency_s)),
    ("p99 s", (lambda row: row.real.p99_latency_s, lambda row: row.copy.p99_latency_s)),
    ("imbalance", (lambda row: row.real.imbalance, lambda row: row.copy.imbalance)),
    ("real / copy mean", (lambda row: row.real.mean_latency_s / row.copy.mean_latency_s,)),
    ("same", (lambda row: row.same_decisions,)),
)
_DYNAMO: Sequence[Column[DynamoMatch]] = (
    ("hit rate", (lambda row: row.real.kv.hit_rate, lambda row: row.copy.kv.hit_rate)),
    ("hit gain", (lambda row: row.real.hit_gain, lambda row: row.copy.hit_gain)),
    ("mean gain", (lambda row: row.real.mean_gain, lambda row: row.copy.mean_gain)),
    ("p99 gain", (lambda row: row.real.p99_gain, lambda row: row.copy.p99_gain)),
    (
        "moved mean s",
        (lambda row: row.moved.mean_latency_s, lambda row: row.copy.kv.mean_latency_s),
    ),
    ("moved p99 s", (lambda row: row.moved.p99_latency_s, lambda row: row.copy.kv.p99_latency_s)),
    ("imbalance", (lambda row: row.real.kv.imbalance, lambda row: row.copy.kv.imbalance)),
    ("same", (lambda row: row.same_decisions,)),
)


def tables(routers: Sequence[Match], dynamo: Sequence[DynamoMatch]) -> Iterator[str]:
    """Lines of both tables."""
    yield from _table("workload, router", routers, _ROUTERS)
    yield ""
    yield from _table("workload", dynamo, _DYNAMO)


def spread(values: Sequence[float]) -> str:
    """The median and, of several values, their range."""
    if not values:
        return "-"
    middle, least, most = (f"{each:.3g}" for each in (median(values), min(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({least}..{most})"


def _table(head: str, rows: Sequence[Row], columns: Sequence[Column[Row]]) -> Iterator[str]:
    yield f"| {head} | {' | '.join(name for name, _ in columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for case in dict.fromkeys(row.case[:-1] for row in rows):
        group = [row for row in rows if row.case[:-1] == case]
        cells = (_cell(group, figures) for _, figures in columns)
        yield f"| {', '.join(case)} | {' | '.join(cells)} |"


def _cell(rows: Sequence[Row], figures: Sequence[Figure[Row]]) -> str:
    return " / ".join(spread(list(_known(rows, figure))) for figure in figures)


def _known(rows: Sequence[Row], figure: Figure[Row]) -> Iterator[float]:
    for row in rows:
        value = figure(row)
        if value is not None:
            yield value

"""How long jobs took, over time: a heat map, and quantiles. Pure.

Rows are durations, each half again as long as the one below it; columns are equal spans of time. A
job counts where it ended.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Literal, get_args

import msgspec

from preble.messages import JobView
from preble.quantiles import quantile

Measure = Literal["total", "queued", "run"]
MEASURES: Final[tuple[Measure, ...]] = get_args(Measure)
MEANINGS: Final = {
    "total": "from submission to end", "queued": "from submission until a worker claimed it",
    "run": "from the claim to the end",
}  # fmt: skip

COLUMNS: Final = 48
_MOST_ROWS: Final = 18
_SHADES: Final = 6
_PER_DECADE: Final = 6
_LEAST_S: Final = 0.001
_PX: Final = 18


class HeatCell(msgspec.Struct, frozen=True):
    """Jobs that ended in one span of time and took about as long."""

    left: float
    """Of the width, 0..1."""
    top: int
    """In pixels."""
    jobs: int
    shade: int
    """From 1 to 6, for few to many."""
    at_s: float
    low_s: float
    high_s: float


class HeatRow(msgspec.Struct, frozen=True):
    """A range of durations."""

    low_s: float
    high_s: float
    jobs: int
    top: int


class Quantiles(msgspec.Struct, frozen=True):
    """What the chart draws, a value for each span of time; None without jobs."""

    at_s: list[float]
    p50_s: list[float | None]
    p95_s: list[float | None]
    p99_s: list[float | None]

    @property
    def json(self) -> str:
        """As the chart takes it."""
        return msgspec.json.encode(msgspec.structs.astuple(self)).decode()


class HeatMap(msgspec.Struct, frozen=True):
    """All of it."""

    measure: Measure
    jobs: int
    from_s: float
    to_s: float
    cells: list[HeatCell]
    rows: list[HeatRow]
    """The longest first."""
    height: int
    quantiles: Quantiles
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None


_TAKEN: Final[dict[Measure, Callable[[JobView], float | None]]] = {
    "total": lambda view: _between(view.submitted_at_s, view.ended_at_s),
    "queued": lambda view: _between(view.submitted_at_s, view.started_at_s),
    "run": lambda view: _between(view.started_at_s, view.ended_at_s),
}


def heat_map_of(views: Sequence[JobView], measure: Measure) -> HeatMap | None:
    """Of jobs that have ended; None if none has what is measured."""
    taken = [(view.ended_at_s or 0.0, _TAKEN[measure](view)) for view in views]
    known = [(ended_s, took_s) for ended_s, took_s in taken if took_s is not None]
    if not known:
        return None
    from_s, to_s = min(known)[0], max(known)[0]
    span_s = max(to_s - from_s, 1.0) / COLUMNS
    columns = [min(COLUMNS - 1, int((ended_s - from_s) / span_s)) for ended_s, _ in known]
    times = [took_s for _, took_s in known]
    levels = _levels(times)
    rows = _rows(levels)
    return HeatMap(
        measure, len(known), from_s, from_s + COLUMNS * span_s,
        _cells(columns, levels, from_s, span_s), rows, len(rows) * _PX,
        _quantiles(columns, times, from_s, span_s), *_three(times),
    )  # fmt: skip


def _levels(times: Sequence[float]) -> list[int]:
    """In which row each counts; the shortest share one, where there would be too many rows."""
    levels = [math.floor(math.log10(max(took_s, _LEAST_S)) * _PER_DECADE) for took_s in times]
    lowest = max(levels) - _MOST_ROWS + 1
    return [max(level, lowest) for level in levels]


def _rows(levels: Sequence[int]) -> list[HeatRow]:
    jobs, top = Counter(levels), max(levels)
    return [
        HeatRow(_low_s(level), _low_s(level + 1), jobs[level], (top - level) * _PX)
        for level in range(top, min(levels) - 1, -1)
    ]


def _cells(
    columns: Sequence[int], levels: Sequence[int], from_s: float, span_s: float
) -> list[HeatCell]:
    counts = Counter(zip(columns, levels, strict=True))
    most, top = max(counts.values()), max(levels)
    return [
        HeatCell(
            column / COLUMNS, (top - level) * _PX, jobs, _shade(jobs, most),
            from_s + column * span_s, _low_s(level), _low_s(level + 1),
        )
        for (column, level), jobs in sorted(counts.items())
    ]  # fmt: skip


def _between(begun_s: float | None, ended_s: float | None) -> float | None:
    return None if begun_s is None or ended_s is None else max(0.0, ended_s - begun_s)


def _low_s(level: int) -> float:
    return float(10.0 ** (level / _PER_DECADE))


def _shade(jobs: int, most: int) -> int:
    """By the logarithm, so that one job among thousands is seen."""
    return 1 + round((_SHADES - 1) * math.log(jobs) / math.log(most)) if most > 1 else _SHADES


def _quantiles(
    columns: Sequence[int], times: Sequence[float], from_s: float, span_s: float
) -> Quantiles:
    of_column: dict[int, list[float]] = {}
    for column, took_s in zip(columns, times, strict=True):
        of_column.setdefault(column, []).append(took_s)
    three = [_three(of_column.get(column, [])) for column in range(COLUMNS)]
    at_s = [from_s + (column + 0.5) * span_s for column in range(COLUMNS)]
    return Quantiles(at_s, *(list(each) for each in zip(*three, strict=True)))


def _three(times: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    if not times:
        return None, None, None
    ordered = sorted(times)
    return quantile(ordered, 0.5), quantile(ordered, 0.95), quantile(ordered, 0.99)

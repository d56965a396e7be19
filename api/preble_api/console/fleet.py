"""The fleet as its page shows it: figures of the pool, how they went lately, the instances. Pure.

uncached tokens   of prompts that completed, those that an engine computed: in all, and a second
hit rate          of their prompt tokens, those that were predicted as each job began, and those
                  that the engine took from its KV cache
event lag         batches of block events since an instance's last snapshot
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from preble.messages import InstanceView, PoolStats
from preble_api.worker_schemas import WorkerStatus, worker_status

LATELY_S: Final = 60.0
"""Over which rates are told."""

_TAKES_JOBS: Final = frozenset({"ready", "quarantine"})
_DRAINED: Final = frozenset({"draining", "drained", "gone"})


class Sample(msgspec.Struct, frozen=True):
    """The pool at one moment."""

    at_s: float
    """Unix seconds."""
    waiting: int
    assigned: int
    running: int
    totals: Mapping[str, int]


class Strip(msgspec.Struct, frozen=True):
    """The pool in a line; None is what is not known."""

    running: int
    waiting: int
    assigned: int
    instances: int
    taking_jobs: int
    slots: int
    uncached_tokens: int
    uncached_tokens_per_s: float | None
    completed_per_s: float | None
    kv_use: float | None
    hit_rate_predicted: float | None
    hit_rate_delivered: float | None
    lately_predicted: float | None
    lately_delivered: float | None
    event_lag_batches: int
    lost_batches: int
    completed: int
    failed: int


class Series(msgspec.Struct, frozen=True):
    """What the charts draw, a value for each moment."""

    at_s: list[float]
    waiting: list[int]
    running: list[int]
    predicted: list[float | None]
    delivered: list[float | None]

    @property
    def json(self) -> str:
        """As the chart takes it."""
        return msgspec.json.encode(msgspec.structs.astuple(self)).decode()


class InstanceRow(msgspec.Struct, frozen=True):
    """An instance, and what an operator may do with it."""

    worker: WorkerStatus
    can_resume: bool
    uncached_tokens: int | None
    """Computed in the worker's life, of jobs that completed."""


class Fleet(msgspec.Struct, frozen=True):
    """All of the page."""

    strip: Strip
    series: Series
    rows: list[InstanceRow]


def sample_of(stats: PoolStats, at_s: float) -> Sample:
    """The pool at this moment."""
    return Sample(at_s, stats.waiting, stats.assigned, stats.running, stats.totals)


def fleet_of(views: Sequence[InstanceView], samples: Sequence[Sample]) -> Fleet:
    """The page.

    Args:
        views: The instances.
        samples: The latest moments, the newest last; at least one.
    """
    rows = [_row(view) for view in views]
    return Fleet(_strip(rows, samples), _series(samples), rows)


def _row(view: InstanceView) -> InstanceRow:
    report = view.report
    computed = report.prompt_tokens - report.hit_tokens if report else None
    return InstanceRow(worker_status(view), view.state in _DRAINED, computed)


def _strip(rows: Sequence[InstanceRow], samples: Sequence[Sample]) -> Strip:
    now, before = samples[-1], _before(samples)
    workers = [row.worker for row in rows]
    predicted, delivered = _hit_rates({}, now.totals)
    lately_predicted, lately_delivered = _hit_rates(before.totals, now.totals)
    return Strip(
        running=now.running, waiting=now.waiting, assigned=now.assigned, instances=len(rows),
        taking_jobs=sum(worker.state in _TAKES_JOBS for worker in workers),
        slots=sum(worker.slots or 0 for worker in workers),
        uncached_tokens=_uncached(now.totals),
        uncached_tokens_per_s=_per_s(before, now, _uncached(now.totals) - _uncached(before.totals)),
        completed_per_s=_per_s(before, now, _rise("completed", before.totals, now.totals)),
        kv_use=_kv_use(workers), hit_rate_predicted=predicted, hit_rate_delivered=delivered,
        lately_predicted=lately_predicted, lately_delivered=lately_delivered,
        event_lag_batches=max((worker.event_lag_batches for worker in workers), default=0),
        lost_batches=sum(worker.lost_batches for worker in workers),
        completed=now.totals.get("completed", 0), failed=now.totals.get("failed", 0),
    )  # fmt: skip


def _before(samples: Sequence[Sample]) -> Sample:
    """The oldest moment that is not too long ago."""
    newest_s = samples[-1].at_s
    return next(each for each in samples if newest_s - each.at_s <= LATELY_S)


def _uncached(totals: Mapping[str, int]) -> int:
    return totals.get("prompt_tokens", 0) - totals.get("hit_tokens_delivered", 0)


def _rise(name: str, before: Mapping[str, int], now: Mapping[str, int]) -> int:
    return now.get(name, 0) - before.get(name, 0)


def _per_s(before: Sample, now: Sample, number: int) -> float | None:
    took_s = now.at_s - before.at_s
    return number / took_s if took_s > 0 else None


def _hit_rates(
    before: Mapping[str, int], now: Mapping[str, int]
) -> tuple[float | None, float | None]:
    """Predicted and delivered, of what completed between two moments."""
    prompt_tokens = _rise("prompt_tokens", before, now)
    if prompt_tokens <= 0:
        return None, None
    names = ("hit_tokens_predicted", "hit_tokens_delivered")
    predicted, delivered = (_rise(name, before, now) / prompt_tokens for name in names)
    return predicted, delivered


def _kv_use(workers: Sequence[WorkerStatus]) -> float | None:
    told = [(each.kv_use, each.kv_capacity_tokens) for each in workers]
    known = [(use, capacity) for use, capacity in told if use is not None and capacity]
    whole = sum(capacity for _, capacity in known)
    return sum(use * capacity for use, capacity in known) / whole if whole else None


def _series(samples: Sequence[Sample]) -> Series:
    rates = [(None, None), *(_hit_rates(a.totals, b.totals) for a, b in pairwise(samples))]
    return Series(
        [each.at_s for each in samples], [each.waiting + each.assigned for each in samples],
        [each.running for each in samples], [rate[0] for rate in rates],
        [rate[1] for rate in rates],
    )  # fmt: skip

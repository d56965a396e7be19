"""Medians and tails of timed samples."""

import gc
import time
from collections.abc import Callable, Sequence
from itertools import zip_longest

import msgspec

from preble.quantiles import quantile


class Timing(msgspec.Struct, frozen=True):
    """Middle and tail of a timed operation, in microseconds."""

    p50_us: float
    p99_us: float
    samples: int


def time_each(
    operations: Sequence[Callable[[], object]], *, undo: Sequence[Callable[[], object]] = ()
) -> Timing:
    """Time operations one by one, with the garbage collector held off.

    Args:
        operations: What is timed.
        undo: For each, what takes it back before the next, not timed; none if there is nothing.
    """
    gc.collect()
    gc.disable()
    samples_us: list[float] = []
    try:
        for operation, take_back in zip_longest(operations, undo, fillvalue=_nothing):
            samples_us.append(_time_us(operation))
            take_back()
    finally:
        gc.enable()
    samples_us.sort()
    return Timing(
        round(quantile(samples_us, 0.5), 1), round(quantile(samples_us, 0.99), 1),
        len(samples_us),
    )  # fmt: skip


def _time_us(operation: Callable[[], object]) -> float:
    started_ns = time.perf_counter_ns()
    operation()
    return (time.perf_counter_ns() - started_ns) / 1_000


def _nothing() -> None:
    """Nothing to take back."""

"""Medians and tails of timed samples."""

import gc
import time
from collections.abc import Callable, Sequence

import msgspec

from preble.quantiles import quantile


class Timing(msgspec.Struct, frozen=True):
    """Middle and tail of a timed operation, in microseconds."""

    p50_us: float
    p99_us: float
    samples: int


def time_each(operations: Sequence[Callable[[], object]]) -> Timing:
    """Time operations one by one, with the garbage collector held off."""
    gc.collect()
    gc.disable()
    try:
        samples_us = sorted(_time_us(operation) for operation in operations)
    finally:
        gc.enable()
    return Timing(
        round(quantile(samples_us, 0.5), 1), round(quantile(samples_us, 0.99), 1),
        len(samples_us),
    )  # fmt: skip


def _time_us(operation: Callable[[], object]) -> float:
    started_ns = time.perf_counter_ns()
    operation()
    return (time.perf_counter_ns() - started_ns) / 1_000

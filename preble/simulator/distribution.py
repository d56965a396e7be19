"""Times over requests, summed up."""

from collections.abc import Iterable

import msgspec

from preble.quantiles import quantile


class Distribution(msgspec.Struct, frozen=True):
    """Of a time over requests, in seconds; all 0 over none."""

    mean: float
    p50: float
    p99: float


def distribution(seconds: Iterable[float]) -> Distribution:
    """Sum up. Cost: O(n log n)."""
    ordered = sorted(seconds)
    mean = sum(ordered) / len(ordered) if ordered else 0.0
    return Distribution(mean, quantile(ordered, 0.5), quantile(ordered, 0.99))

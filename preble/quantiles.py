"""Quantiles of measured values."""

import math
from collections.abc import Sequence


def quantile(ordered: Sequence[float], fraction: float) -> float:
    """The smallest value that at least `fraction` of the values do not exceed; 0 for none.

    Args:
        ordered: Ascending.
        fraction: In (0, 1].
    """
    return ordered[math.ceil(fraction * len(ordered)) - 1] if ordered else 0.0

"""How sure a ratio is: the paired percentile bootstrap.

Two contenders that met the same requests, seed by seed or window by window, make pairs. Drawing
pairs, not values, keeps out what is hard or easy about a seed for both. With ten pairs the
interval is somewhat too narrow, as percentile intervals of few values are.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

RESAMPLES: Final = 10_000
LEVEL: Final = 0.95
_SEED: Final = 1


class Interval(msgspec.Struct, frozen=True):
    """A ratio, and between what it lies in `LEVEL` of the resamples."""

    ratio: float
    low: float
    high: float

    @property
    def inverse(self) -> "Interval":
        """Of the ratio the other way round."""
        return Interval(1 / self.ratio, 1 / self.high, 1 / self.low)


def ratio_of_means(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Mean of ours / mean of theirs; the same values give the same interval.

    Args:
        ours: One value for each pair.
        theirs: As many, in the same order; above 0.

    Raises:
        ValueError: If there is no pair, or a value without its other.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), sections 8.3 and 13.3.
    """
    if not len(ours) == len(theirs) > 0:
        msg = f"{len(ours)} and {len(theirs)} values make no pairs"
        raise ValueError(msg)
    pairs = np.array([ours, theirs], dtype=float)
    drawn = np.random.default_rng(_SEED).integers(len(ours), size=(RESAMPLES, len(ours)))
    our_means, their_means = pairs[:, drawn].mean(axis=2)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(our_means / their_means, (tail, 100 - tail)).tolist()
    our_mean, their_mean = pairs.mean(axis=1).tolist()
    return Interval(our_mean / their_mean, low, high)

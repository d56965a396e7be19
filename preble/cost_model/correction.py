"""How much slower or faster one instance is than its cost model says, learnt from its steps."""

import math
from bisect import bisect_left, insort
from collections import deque
from itertools import accumulate
from typing import Final

LOWEST_FACTOR: Final = 0.1
HIGHEST_FACTOR: Final = 10.0
"""Beyond a factor of ten it is the wrong cost model, not a slow instance."""


class StepCorrection:
    """Learns the factor in `observed = factor * predicted` of one instance. Mutable.

    The factor makes the sum of |observed - factor * predicted| over the last observations as
    small as can be (least absolute deviations through the origin): it is the median of the
    ratios, each weighted by its predicted seconds. A pause or a stalled step counts no more
    than any other that took too long, as long as such steps are the minority.

    Args:
        window: Observations that count; after a change, half as many outvote the old ones.
        min_observations: Until there are so many, the factor is 1.
    """

    def __init__(self, *, window: int = 64, min_observations: int = 8) -> None:
        self._window = window
        self._min_observations = min_observations
        self._recent: deque[tuple[float, float]] = deque()
        self._by_ratio: list[tuple[float, float]] = []
        self._factor: float | None = 1.0

    def observe(self, predicted_s: float, observed_s: float) -> None:
        """Take in one duration; what is not a finite number above 0 is ignored.

        Cost: O(log window), and moving as many pairs in a list.
        """
        if not (0 < predicted_s < math.inf and 0 < observed_s < math.inf):
            return
        pair = (observed_s / predicted_s, predicted_s)
        self._recent.append(pair)
        insort(self._by_ratio, pair)
        if len(self._recent) > self._window:
            del self._by_ratio[bisect_left(self._by_ratio, self._recent.popleft())]
        self._factor = None

    @property
    def factor(self) -> float:
        """What to multiply predictions by, from `LOWEST_FACTOR` to `HIGHEST_FACTOR`.

        Cost: O(1), after a new observation O(window).
        """
        if self._factor is None:
            self._factor = self._learn()
        return self._factor

    def _learn(self) -> float:
        if len(self._recent) < self._min_observations:
            return 1.0
        half_s = sum(weight_s for _, weight_s in self._by_ratio) / 2
        up_to_s = accumulate(weight_s for _, weight_s in self._by_ratio)
        middle = next(number for number, sum_s in enumerate(up_to_s) if sum_s >= half_s)
        return min(max(self._by_ratio[middle][0], LOWEST_FACTOR), HIGHEST_FACTOR)

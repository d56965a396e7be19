"""Functions made of straight lines, quick to evaluate and to sum over evenly spaced points."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from sys import maxsize


@dataclass(frozen=True, slots=True)
class Line:
    """`constant + slope * x`, for whole x from `start` up to the next line."""

    start: int
    constant: float
    slope: float


class PiecewiseLinear:
    """Lines in the order of their starts, the first of which is 0. Immutable."""

    __slots__ = ("_constants", "_ends", "_slopes")

    def __init__(self, lines: Sequence[Line]) -> None:
        self._ends = [line.start for line in lines[1:]]
        self._constants = [line.constant for line in lines]
        self._slopes = [line.slope for line in lines]

    def at(self, x: int) -> float:
        """The value at `x`, >= 0."""
        number = bisect_right(self._ends, x)
        return self._constants[number] + self._slopes[number] * x

    def line_at(self, x: int) -> Line:
        """The line that `x` lies on, >= 0."""
        number = bisect_right(self._ends, x)
        start = self._ends[number - 1] if number else 0
        return Line(start, self._constants[number], self._slopes[number])

    def sum_of(self, first: int, stride: int, count: int) -> float:
        """The sum of the values at `count` points from `first` on, `stride` > 0 apart.

        Cost: O(lines), by the sum of an arithmetic series within each.
        """
        total = 0.0
        for number in range(bisect_right(self._ends, first), len(self._constants)):
            end = self._ends[number] if number < len(self._ends) else maxsize
            inside = min(count, -((first - end) // stride))
            mean_x = first + stride * (inside - 1) / 2
            total += inside * (self._constants[number] + self._slopes[number] * mean_x)
            count -= inside
            if not count:
                break
            first += stride * inside
        return total

"""Rows gathered by what they measure, and contenders compared: what pages and figures show."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean

import msgspec

from benchmarks.bootstrap import Interval, ratio_of_means
from benchmarks.store import Row, Values


class Versus(msgspec.Struct, frozen=True):
    """A contender beside the best of others in one value."""

    best: str
    interval: Interval
    """Of ours / the best's."""


class Summary:
    """The rows of an experiment by scenario, contender and load; each has some seeds."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._seeds: dict[tuple[str, str, float | None], dict[int, Values]] = defaultdict(dict)
        for row in rows:
            self._seeds[row.scenario, row.contender, row.load][row.seed] = row.values

    def has(self, scenario: str) -> bool:
        """Whether anything was measured on it."""
        return any(key[0] == scenario for key in self._seeds)

    def num_seeds(self) -> int:
        """The most that a cell has."""
        return max(map(len, self._seeds.values()), default=0)

    def values(self, scenario: str, contender: str, load: float | None, name: str) -> list[float]:
        """One for each seed, ascending by seed; none if it was not measured."""
        seeds = self._seeds.get((scenario, contender, load), {})
        return [seeds[seed][name] for seed in sorted(seeds) if name in seeds[seed]]

    def mean(self, scenario: str, contender: str, load: float | None, name: str) -> float | None:
        """Over the seeds; None if it was not measured."""
        values = self.values(scenario, contender, load, name)
        return fmean(values) if values else None

    def versus(
        self, scenario: str, load: float | None, name: str, *, ours: str, others: Sequence[str]
    ) -> Versus | None:
        """Ours beside the other of least mean; None unless both met the same seeds.

        The best is chosen by the same values, which flatters it, never ours.
        """
        means = {other: self.mean(scenario, other, load, name) for other in others}
        known = {other: mean for other, mean in means.items() if mean is not None}
        if not known:
            return None
        best = min(known, key=known.__getitem__)
        pairs = self._pairs(scenario, load, name, ours, best)
        if not pairs:
            return None
        our_values, best_values = zip(*pairs, strict=True)
        return Versus(best, ratio_of_means(our_values, best_values))

    def _pairs(
        self, scenario: str, load: float | None, name: str, ours: str, other: str
    ) -> list[tuple[float, float]]:
        """Values of the seeds that both met."""
        mine = self._seeds.get((scenario, ours, load), {})
        theirs = self._seeds.get((scenario, other, load), {})
        return [
            (mine[seed][name], theirs[seed][name])
            for seed in sorted(mine.keys() & theirs.keys())
            if name in mine[seed] and name in theirs[seed]
        ]

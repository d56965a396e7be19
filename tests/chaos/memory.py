"""What processes hold in memory over a run, and whether it grows."""

from collections import defaultdict
from statistics import median
from typing import Final

import msgspec
from chaos.checker import Offence

SETTLED_S: Final = 5.0
"""Of a life: before, a process loads its code."""
GROWTH: Final = 1.5
"""That the last quarter of a run may hold of what the second held."""
SLACK_BYTES: Final = 20_000_000


class Sample(msgspec.Struct, frozen=True):
    """Resident memory of one process at one time."""

    name: str
    at_s: float
    age_s: float
    """Of this life."""
    rss_bytes: int


class Growth(msgspec.Struct, frozen=True):
    """Median of a process, all its lives together, in two quarters of a run."""

    name: str
    second_bytes: float
    last_bytes: float

    @property
    def is_flat(self) -> bool:
        """Whether it holds about as much as before."""
        return self.last_bytes <= self.second_bytes * GROWTH + SLACK_BYTES


def growths(samples: list[Sample]) -> list[Growth]:
    """For each process seen in both quarters, those of the time that was sampled."""
    if not samples:
        return []
    begin_s, end_s = samples[0].at_s, samples[-1].at_s
    quarters: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for each in samples:
        quarter = min(3, int(4 * (each.at_s - begin_s) / max(end_s - begin_s, 1e-9)))
        if each.age_s >= SETTLED_S:
            quarters[each.name][quarter].append(each.rss_bytes)
    return [
        Growth(name, median(held[1]), median(held[3]))
        for name, held in sorted(quarters.items())
        if held[1] and held[3]
    ]


def check_memory(samples: list[Sample]) -> list[Offence]:
    """Processes that hold much more at the end than in the second quarter."""
    return [
        Offence(
            "memory", each.name, f"{each.second_bytes:,.0f} bytes, later {each.last_bytes:,.0f}"
        )
        for each in growths(samples)
        if not each.is_flat
    ]

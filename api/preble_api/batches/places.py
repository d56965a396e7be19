"""Whose batches one api drives at once, and whose turn is next: no tenant keeps out the others.

A batch holds its place until its end, which may be days away. So a tenant may have a further place
only while more are free than it holds: one alone holds half of them, and whoever comes next finds
some. A batch that is only to be ended, as it was cancelled or has expired, needs a place for a
short time: there are a few for those alone.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from preble_api.files.layout import OpenBatch

MOST_DRIVEN: Final = 16
"""Batches that one api drives at once; the others wait for it or another."""

MOST_ENDING: Final = 4
"""Batches that it ends besides, because their time is over."""


class Places:
    """The places of one api."""

    def __init__(self) -> None:
        self._driven: set[OpenBatch] = set()
        self._ending: set[OpenBatch] = set()

    def in_turn(self, batches: Iterable[OpenBatch]) -> list[OpenBatch]:
        """Those without a place, in the order in which they may have one.

        The tenant goes first that has the fewest places; a tenant's own go by their age.

        Args:
            batches: All, the oldest first.
        """
        held = Counter(each.tenant for each in self._driven)
        turns: list[tuple[int, str, OpenBatch]] = []
        for each in batches:
            if each not in self._driven and each not in self._ending:
                turns.append((held[each.tenant], each.batch_id, each))
                held[each.tenant] += 1
        return [each for *_, each in sorted(turns)]

    def has_for(self, tenant: str) -> bool:
        """Whether a tenant may have one more batch driven."""
        num_held = sum(each.tenant == tenant for each in self._driven)
        return MOST_DRIVEN - len(self._driven) > num_held

    def has_to_end(self) -> bool:
        """Whether one more batch may be ended whose time is over."""
        return len(self._ending) < MOST_ENDING

    def take(self, batch: OpenBatch, *, is_ending: bool = False) -> None:
        """A batch is driven from now on."""
        (self._ending if is_ending else self._driven).add(batch)

    def give_back(self, batch: OpenBatch) -> None:
        """It is not any more."""
        self._driven.discard(batch)
        self._ending.discard(batch)

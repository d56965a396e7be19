"""Expectations: what jobs that were placed are to compute, until it is done or no longer believed.

Expected blocks of a job cover its whole prompt, not only what was missing when it was placed:
the held part may be evicted before the job runs, and is then computed again. They end when
its last block is stored, when the job ends or loses its lease, or when twice the predicted
time has passed, whichever is first. A prefill that stores no block, because all are held or
the prompt is shorter than one, counts as over when its predicted time has passed: else every
solution sampled from one prompt would look like a prefill for as long as it decodes.
"""

from heapq import heappop, heappush
from itertools import count
from typing import Final

from preble.fleet import Fleet
from preble.instance import PlacedRequest

EXPECT_AT_LEAST_S: Final = 1.0
"""Added to twice the predicted prefill: what a job takes on its way to the engine."""


class Expectations:
    """What is expected of the jobs of one fleet, and until when.

    Args:
        fleet: Where they are placed; it drops what a stored block or the end of a job settles.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._expecting: list[tuple[float, int, PlacedRequest]] = []
        self._unheard: list[tuple[float, int, PlacedRequest]] = []
        """Those whose prefill stores no block: no event will say that it is over."""
        self._serials = count()

    def remember(self, placed: PlacedRequest, resident_tokens: int) -> None:
        """A job's placement is final: it counts in the window, and its prompt is expected.

        Args:
            placed: As it was placed.
            resident_tokens: Of its prompt, held by its instance then.
        """
        self._fleet.remember(placed)
        backlog_s = float(self._fleet.backlog_s[placed.instance.account.row])  # its own too
        if self._fleet.fills_no_block(placed.prompt_tokens, resident_tokens):
            computed_at_s = placed.placed_at_s + backlog_s
            heappush(self._unheard, (computed_at_s, next(self._serials), placed))
        else:
            ends_at_s = placed.placed_at_s + 2 * backlog_s + EXPECT_AT_LEAST_S
            heappush(self._expecting, (ends_at_s, next(self._serials), placed))

    def expire(self, now_s: float) -> None:
        """Forget what is over by now: what is past the window, and what was expected by then."""
        self._fleet.history.expire(now_s)
        while self._expecting and self._expecting[0][0] <= now_s:
            self._fleet.unexpect(heappop(self._expecting)[2])
        while self._unheard and self._unheard[0][0] <= now_s:
            self._fleet.computed(heappop(self._unheard)[2])

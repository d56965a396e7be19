"""Credit: how much more work an instance has use for now, under late binding."""

import numpy as np

from preble.fleet import Fleet
from preble.instance import PlacedRequest


class Credit:
    """What is left of each instance's credit while a plan is made.

    An instance has credit while the prefill placed there is predicted to keep it busy for less
    than `credit_s`, and a slot of its engine is free.

    Args:
        fleet: As it is before the plan.
        credit_s: Seconds of prefill.
    """

    def __init__(self, fleet: Fleet, credit_s: float) -> None:
        self._credit_s = credit_s
        self._backlog_s = fleet.backlog_s.copy()
        self._free_slots = fleet.free_slots

    @property
    def is_left(self) -> bool:
        """Whether any instance has some."""
        return bool(np.any((self._backlog_s < self._credit_s) & (self._free_slots > 0)))

    def take(self, placed: PlacedRequest) -> bool:
        """Spend credit of a job's instance on it. Returns whether there was any."""
        row = placed.instance.account.row
        if self._backlog_s[row] >= self._credit_s or self._free_slots[row] <= 0:
            return False
        self._backlog_s[row] += placed.prefill_s
        self._free_slots[row] -= 1
        return True

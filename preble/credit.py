"""Credit: which instances have use for more jobs now, and which can take more than before.

An instance has *credit* while the prefill placed there is predicted to keep it busy for less
than `credit_s`, a slot of its engine is free, and so is KV memory. It *asks* for jobs when it has
half of that left and several slots, so that one plan serves several short jobs.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from preble.fleet import Fleet
from preble.history import Column

AHEAD_SLOTS: Final = 1 / 16
"""Of an engine's slots: so many jobs more may be placed on it than it runs at once, and a plan is
made when all that are placed can run. So one plan fills several slots, and none stands idle."""


class Credit:
    """The credit of each instance of a fleet.

    Args:
        fleet: What is placed on each, virtually or not.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._relief: Column = np.zeros(0)
        """That of each instance at the last `note_plan`."""

    def rows(self, credit_s: float) -> npt.NDArray[np.bool_]:
        """Which instances have credit."""
        fleet = self._fleet
        has_room = (fleet.outstanding == 0) | (fleet.free_kv_tokens > 0)
        has_slot = fleet.outstanding < fleet.slots + np.floor(fleet.slots * AHEAD_SLOTS)
        credit: npt.NDArray[np.bool_] = (fleet.backlog_s < credit_s) & has_slot & has_room
        return credit

    def has(self, row: int, credit_s: float) -> bool:
        """As `rows`; of one, which is asked for after each job, in plain numbers."""
        fleet = self._fleet
        outstanding, slots = int(fleet.outstanding[row]), int(fleet.slots[row])
        return (
            fleet.backlog_s[row] < credit_s
            and outstanding < slots + int(slots * AHEAD_SLOTS)
            and (outstanding == 0 or bool(fleet.free_kv_tokens[row] > 0))
        )

    def asking(self, credit_s: float) -> npt.NDArray[np.bool_]:
        """Which instances have half of their credit left, and a slot for all that is placed."""
        fleet = self._fleet
        asking: npt.NDArray[np.bool_] = self.rows(credit_s / 2) & (fleet.outstanding <= fleet.slots)
        return asking

    def is_relieved(self, credit_s: float) -> bool:
        """Whether an instance that asks can take more than at the last `note_plan`.

        What was not planned for one that had credit then, is not now that others have more.
        """
        relief, before = self._fleet.relief, self._relief
        if len(relief) != len(before):
            return True
        return bool((self.asking(credit_s) & (relief != before)).any())

    def note_plan(self) -> None:
        """A plan was made: what instances can take now has been given out."""
        self._relief = self._fleet.relief.copy()

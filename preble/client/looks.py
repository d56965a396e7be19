"""Which of many open jobs to ask for next, and when. Pure.

Jobs end roughly in the order of their submission, so the oldest are asked for first, a list at a
time; where few of them have ended, the next list has its turn. The pauses adapt so that about
every eighth job of a list has ended when it is asked for: neither is the api asked in vain, nor
does a result wait long.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from preble.client.calls import Calls
from preble.client.exchange import Program
from preble.client.replies import Ended

MAX_LOOK_JOBS: Final = 200
"""Jobs asked for at once, as many as the api takes."""

LONGEST_WAIT_S: Final = 10
"""For which the api waits for an end, where one question names all open jobs."""

_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.5
_ENOUGH: Final = 1 / 8


class Looks:
    """Open jobs, asked for in turn.

    Args:
        job_ids: That are open at first.
    """

    def __init__(self, job_ids: Iterable[str] = ()) -> None:
        self._open = dict.fromkeys(job_ids)
        self._from = 0
        self._pause_s = 0.0

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def add(self, job_ids: Iterable[str]) -> None:
        """Follow more jobs."""
        self._open.update(dict.fromkeys(job_ids))

    def look(self, calls: Calls, *, at_most_s: float = float("inf")) -> Program[Ended]:
        """Ask for the next list. Changes: what ended or is missing is no longer open.

        Args:
            calls: Of the api.
            at_most_s: Longest time to wait for an end.
        """
        if not self._open:
            return Ended([], [])
        asked = list(islice(self._open, self._from, self._from + MAX_LOOK_JOBS))
        wait_s = min(LONGEST_WAIT_S, at_most_s) if len(asked) == len(self._open) else 0
        pause_s = min(self._pause_s, at_most_s)
        found = yield from calls.ended(asked, wait_s=int(wait_s), pause_s=pause_s)
        self._settle(found, len(asked))
        return found

    def _settle(self, found: Ended, num_asked: int) -> None:
        for job_id in (*(job.id for job in found.data), *found.missing):
            self._open.pop(job_id, None)
        num_found = len(found.data) + len(found.missing)
        if num_found >= num_asked * _ENOUGH:
            self._from, self._pause_s = 0, self._pause_s / 2
            return
        self._from += num_asked - num_found
        if self._from >= len(self._open):
            self._from = 0
            self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)

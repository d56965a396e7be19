"""Batches that could not be driven: each rests, longer each time, and holds no place meanwhile.

A disk that is full or a queue that is away is waited for. Any other error is a bug that may come
again whenever the batch is tried: after a few times the batch is to end.
"""

from collections.abc import Collection
from typing import Final

import msgspec

from preble.clock import Clock

REST_S: Final = 10.0
"""After the first error, before the batch is tried again; doubled after each further one."""

LONGEST_REST_S: Final = 60.0

MOST_BUGS: Final = 5
"""Errors that nothing but a bug explains, after which a batch is given up."""


class _Trouble(msgspec.Struct):
    rest_s: float
    until_s: float = 0.0
    num_bugs: int = 0


class Troubles:
    """The troubles of one api with its batches.

    Args:
        clock: Measures the rests.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of: dict[str, _Trouble] = {}

    def note(self, batch_id: str, *, is_bug: bool) -> None:
        """A batch could not be driven."""
        trouble = self._of.setdefault(batch_id, _Trouble(REST_S))
        trouble.until_s = self._clock.now_s() + trouble.rest_s
        trouble.rest_s = min(trouble.rest_s * 2, LONGEST_REST_S)
        trouble.num_bugs += is_bug

    def rests(self, batch_id: str) -> bool:
        """Whether a batch is not to be tried yet."""
        trouble = self._of.get(batch_id)
        return trouble is not None and self._clock.now_s() < trouble.until_s

    def is_hopeless(self, batch_id: str) -> bool:
        """Whether a batch is to be given up."""
        trouble = self._of.get(batch_id)
        return trouble is not None and trouble.num_bugs >= MOST_BUGS

    def forget_all_but(self, batch_ids: Collection[str]) -> None:
        """Only these have not ended."""
        self._of = {each: trouble for each, trouble in self._of.items() if each in batch_ids}

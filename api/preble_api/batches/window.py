"""The lines of a batch that are jobs now: bounded, so that a batch never fills the queue."""

import asyncio
from collections.abc import Sequence
from typing import Final

from preble.messages import JobId
from preble_api.batches.plan import LinePlace

WINDOW_LINES: Final = 2_000
WINDOW_BYTES: Final = 64 * 1024 * 1024
"""Of input lines; a longer one goes alone."""


class Window:
    """Lines under way, from their admission until their result is on disk."""

    def __init__(self) -> None:
        self._jobs: dict[LinePlace, JobId] = {}
        self._num_bytes = 0
        self._changed = asyncio.Event()

    @property
    def job_ids(self) -> list[JobId]:
        """Of the lines under way."""
        return list(self._jobs.values())

    def has_room(self, places: Sequence[LinePlace]) -> bool:
        """Whether these lines fit beside the others."""
        more = sum(place.num_bytes for place in places)
        fits = self._num_bytes + more <= WINDOW_BYTES
        return not self._jobs or (fits and len(self._jobs) + len(places) <= WINDOW_LINES)

    def add(self, place: LinePlace, job_id: JobId) -> None:
        """A line is under way."""
        self._jobs[place] = job_id
        self._num_bytes += place.num_bytes

    def remove(self, place: LinePlace) -> None:
        """A line has its result; harmless if it never was under way."""
        if self._jobs.pop(place, None) is not None:
            self._num_bytes -= place.num_bytes
            self.look_again()

    def look_again(self) -> None:
        """Wake whoever waits in `changed`."""
        self._changed.set()

    async def changed(self) -> None:
        """Return when a line was removed, or somebody is to look again, since the last call."""
        await self._changed.wait()
        self._changed.clear()

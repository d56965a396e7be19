"""Long work on the event loop, in short turns: between them the api answers others."""

import asyncio
from typing import Final

from preble.clock import Clock

TURN_S: Final = 0.001
"""After which work lets others go first. It is some milliseconds in all: it may wait, they not."""


class Pace:
    """The turns of one piece of work.

    Args:
        clock: Tells how long a turn has lasted.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.now_s()

    async def breathe(self) -> None:
        """Let others go first, if the turn is over. To be called between short steps."""
        if self._clock.now_s() - self._began_s < TURN_S:
            return
        await asyncio.sleep(0)
        self._began_s = self._clock.now_s()

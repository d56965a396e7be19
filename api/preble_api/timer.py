"""A timer of the event loop that can be set anew."""

import asyncio
from collections.abc import Callable


class Timer:
    """Calls back once, unless stopped before.

    Args:
        loop: On which it calls.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float, call: Callable[[], object]) -> None:
        """Call after so many seconds, and not when it was to before."""
        self.stop()
        self._handle = self._loop.call_later(seconds, call)

    def stop(self) -> None:
        """Do not call."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

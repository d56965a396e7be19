"""Time as a value that is passed in, so that tests and the simulator own it."""

import time
from typing import Protocol


class Clock(Protocol):
    """A source of seconds."""

    def now_s(self) -> float:
        """Monotonic seconds; only differences mean anything."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    def now_s(self) -> float:
        """Monotonic seconds of this machine."""
        return time.monotonic()


def unix_s() -> float:
    """Unix seconds as this host has them: for what only tells days apart, never to order events."""
    return time.time()  # noqa: TID251  # see above; all else asks Redis


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        """Seconds set so far."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move time on. Changes: this clock. Raises: ValueError if `seconds` is negative."""
        if seconds < 0:
            msg = f"time cannot go back by {-seconds} s"
            raise ValueError(msg)
        self._now_s += seconds

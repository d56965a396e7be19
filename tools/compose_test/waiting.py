"""The test's log, its patience, and its complaints."""

import time
from collections.abc import Callable
from typing import Final

POLL_S: Final = 0.5
PROGRESS_EVERY_S: Final = 15.0

_BEGAN_S: Final = time.monotonic()


class CheckFailed(Exception):
    """The stack does not do what it should."""


def elapsed_s() -> float:
    """Seconds since the test began."""
    return time.monotonic() - _BEGAN_S


def say(line: str) -> None:
    """One line of the log."""
    print(f"[{elapsed_s():6.1f} s] {line}", flush=True)


def require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raises: CheckFailed."""
    if not holds:
        raise CheckFailed(otherwise)


def wait_until(
    holds: Callable[[], bool], what: str, timeout_s: float, progress: Callable[[], str]
) -> None:
    """Poll, with a line now and then. Raises: CheckFailed if it takes too long."""
    began_s = shown_s = elapsed_s()
    while not holds():
        now_s = elapsed_s()
        require(now_s - began_s < timeout_s, f"not within {timeout_s:.0f} s: {what}; {progress()}")
        if now_s - shown_s >= PROGRESS_EVERY_S:
            shown_s = now_s
            say(progress())
        time.sleep(POLL_S)


def last_lines(text: str, number: int) -> str:
    """The end of a text."""
    return "\n".join(text.strip().splitlines()[-number:])

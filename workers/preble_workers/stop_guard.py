"""Holds back what the final text will not have: a stop string ends it where it begins."""

from collections.abc import Sequence


class StopGuard:
    """Lets the text of one output pass as far as no stop string can have begun.

    Args:
        stops: Not empty strings.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self._has_stopped = False

    def add(self, text: str) -> str:
        """What may be said now. After a whole stop string that is nothing, for ever.

        Cost: O(text + longest stop string), for each stop string.
        """
        if self._has_stopped or not self._stops:
            return "" if self._has_stopped else text
        held = self._held + text
        whole = [at for stop in self._stops if (at := held.find(stop)) >= 0]
        self._has_stopped = bool(whole)
        end = min(whole or [_begun_at(held, stop) for stop in self._stops])
        self._held = held[end:]
        return held[:end]


def _begun_at(text: str, stop: str) -> int:
    """Where the stop string may begin whose first characters end the text; else its length."""
    at = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while at >= 0 and not stop.startswith(text[at:]):
        at = text.find(stop[0], at + 1)
    return len(text) if at < 0 else at

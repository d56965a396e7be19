"""The order in which lines are handed over, and the one in which results are written. Pure."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, Generic, TypeVar

from preble.batch.lines import Line

WINDOW_LINES: Final = 20_000
WINDOW_BYTES: Final = 32 * 1024 * 1024
"""Of one window: so much of the input is sorted by prefix, and in memory, at once."""

T = TypeVar("T")


def windows(
    lines: Iterable[Line], *, most_lines: int = WINDOW_LINES, most_bytes: int = WINDOW_BYTES
) -> Iterator[list[Line]]:
    """The lines, cut into lists that memory can hold."""
    window: list[Line] = []
    size = 0
    for line in lines:
        window.append(line)
        size += len(line.body)
        if len(window) >= most_lines or size >= most_bytes:
            yield window
            window, size = [], 0
    if window:
        yield window


def by_prefix(window: Iterable[Line]) -> list[Line]:
    """The lines of a window, those that begin alike together: bodies begin with their prompts."""
    return sorted(window, key=lambda line: line.body)


class Sequence(Generic[T]):
    """Puts what comes in any order back into the order that was announced."""

    def __init__(self) -> None:
        self._expected: deque[int] = deque()
        self._waiting: dict[int, T] = {}

    def __len__(self) -> int:
        """What waits for something before it."""
        return len(self._waiting)

    def announce(self, numbers: Iterable[int]) -> None:
        """What comes next, in order."""
        self._expected.extend(numbers)

    def put(self, number: int, value: T) -> Iterator[T]:
        """One more has come. Yields: those whose turn it is."""
        self._waiting[number] = value
        while self._expected and self._expected[0] in self._waiting:
            yield self._waiting.pop(self._expected.popleft())

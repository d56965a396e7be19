"""The lines of a batch in the order in which they are run, as a file of small records.

Written once, when the input was found valid; it follows from the input and nothing else.
"""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from preble_api.files.durable import replace

_RECORD: Final = struct.Struct("<IIQ")


class LinePlace(NamedTuple):
    """Where a line stands in the input file."""

    number: int
    """From 1, as an editor counts."""
    num_bytes: int
    offset: int


class Plan:
    """All lines, by their position in the order."""

    def __init__(self, records: bytes) -> None:
        self._records = records

    @classmethod
    def load(cls, path: Path) -> Self:
        """The plan at a path. Raises: FileNotFoundError if the input was not validated yet."""
        return cls(path.read_bytes())

    def __len__(self) -> int:
        """Lines of the batch."""
        return len(self._records) // _RECORD.size

    def __getitem__(self, position: int) -> LinePlace:
        """The line at a position. Raises: IndexError."""
        if position >= len(self):
            raise IndexError(position)
        return LinePlace(*_RECORD.unpack_from(self._records, position * _RECORD.size))

    def __iter__(self) -> Iterator[LinePlace]:
        """All lines, in order."""
        return (LinePlace(*each) for each in _RECORD.iter_unpack(self._records))


def save_plan(path: Path, places: Iterable[LinePlace]) -> None:
    """Write a plan, durably and at once."""
    replace(path, b"".join(_RECORD.pack(*each) for each in places))

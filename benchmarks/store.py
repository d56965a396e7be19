"""Results on disk: a line of JSON for each cell, appended as cells end."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from benchmarks.cells import Cell

Values = dict[str, float]
"""Figures by name; the unit is in the name."""


class Row(msgspec.Struct, frozen=True):
    """The result of a cell, to be known again by its key."""

    key: str
    scenario: str
    contender: str
    load: float | None
    seed: int
    values: Values


def row(cell: Cell, values: Values) -> Row:
    """Of a cell. Five digits are enough to write, and the same on every machine."""
    rounded = {name: float(f"{value:.5g}") for name, value in values.items()}
    return Row(cell.key, cell.scenario, cell.contender, cell.load, cell.seed, rounded)


class Store:
    """The rows in one file. A broken last line, of a process that was killed, is dropped.

    Args:
        file: It may be missing, its folder not.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.rows: dict[str, Row] = {}
        """By key."""
        for line in file.read_bytes().splitlines() if file.exists() else []:
            self._read(line)

    def add(self, row: Row) -> None:
        """Keep a row, on disk too. Changes: appends to the file."""
        self.rows[row.key] = row
        with self._file.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")

    def tidy(self, keys: Iterable[str]) -> list[Row]:
        """Keep the rows of these keys alone, in their order. Changes: writes the file anew."""
        self.rows = {key: self.rows[key] for key in keys if key in self.rows}
        rows = list(self.rows.values())
        if rows:
            partial = self._file.with_suffix(".partial")
            partial.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
            partial.replace(self._file)
        return rows

    def _read(self, line: bytes) -> None:
        try:
            row = msgspec.json.decode(line, type=Row)
        except msgspec.MsgspecError:
            return
        self.rows[row.key] = row

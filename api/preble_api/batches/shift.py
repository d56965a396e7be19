"""One driver's time with a batch: all that it writes is in a folder of its own.

    start.json      which lines of earlier shifts count, and when lines were handed over
    state.json      how the batch stands
    output.jsonl    lines that were answered; grows
    error.jsonl     lines that were not; grows
    handed.jsonl    how far the lines were handed over to the queue, and when; grows

A driver that was replaced and does not know it writes into its own shift, where nobody looks any
more: the next shift has named the bytes of the earlier ones that count. A shift begins by moving
its folder into place, which succeeds for one driver only.
"""

import os
import secrets
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Final, Literal

import msgspec

from preble.clock import unix_s
from preble.errors import PrebleError
from preble_api.batches.folder import BatchFolder, BatchState, read_state, state_path
from preble_api.batches.lines import Written, read_written
from preble_api.batches.tally import Tally
from preble_api.files.durable import publish, replace, sync_file, write_new

Kind = Literal["output", "error"]
KINDS: Final[tuple[Kind, Kind]] = ("output", "error")
_START: Final = "start.json"
_HANDED: Final = "handed.jsonl"


class Part(msgspec.Struct, frozen=True):
    """What counts of an earlier shift."""

    shift: int
    output_bytes: int
    error_bytes: int

    def num_bytes(self, kind: Kind) -> int:
        """Of one of its files."""
        return self.output_bytes if kind == "output" else self.error_bytes


class Handed(msgspec.Struct, frozen=True):
    """Lines up to a position in the plan were handed over, not before a time (Unix seconds)."""

    end: int
    at_s: float


class ShiftStart(msgspec.Struct, frozen=True):
    """What a shift found when it began."""

    parts: tuple[Part, ...] = ()
    handed: tuple[Handed, ...] = ()


class Replaced(PrebleError):
    """Another driver has begun a shift of its own."""


class Shift:
    """The shift of the driver that made it. Its calls block, and are made one after another."""

    def __init__(self, folder: BatchFolder, number: int, start: ShiftStart, tally: Tally) -> None:
        self.folder = folder
        self.tally = tally
        self._number = number
        self._path = folder.shift_folder(number)
        self._start = start
        self._handed = list(start.handed)
        # Without buffers, which would write again later what a full disk refused.
        self._files = {kind: (self._path / _name(kind)).open("ab", 0) for kind in KINDS}
        self._log = (self._path / _HANDED).open("ab", 0)
        self.state = read_state(self._path)

    def close(self) -> None:
        """Let go of the files."""
        for each in (*self._files.values(), self._log):
            each.close()

    def save(self, state: BatchState) -> None:
        """How the batch stands from now on, durably."""
        replace(state_path(self._path), msgspec.json.encode(state))
        self.state = state

    def require_newest(self) -> None:
        """Refuse to go on where another driver has begun. Raises: Replaced."""
        if self.folder.newest_shift() != self._number:
            msg = f"another driver has begun with {self.folder.path.name}"
            raise Replaced(msg)

    def append(self, kind: Kind, lines: bytes) -> None:
        """Lines, durably, all or none. Raises: OSError, as when the disk is full."""
        if lines:
            _append(self._files[kind], lines)

    def hand_over(self, end: int) -> None:
        """Note, durably, that lines up to a position of the plan are handed over from now on."""
        if end > self.handed_end:
            handed = Handed(end, unix_s())
            _append(self._log, msgspec.json.encode(handed) + b"\n")
            self._handed.append(handed)

    @property
    def handed_end(self) -> int:
        """Position of the plan up to which lines may have become jobs."""
        return self._handed[-1].end if self._handed else 0

    def handed_at_s(self, position: int) -> float:
        """When the line at a position was handed over first. It must have been."""
        return next(each.at_s for each in self._handed if position < each.end)

    def assembled(self, kind: Kind) -> Iterator[bytes]:
        """All lines of a kind, of this shift and of what counts of those before, in pieces."""
        for part in self._start.parts:
            path = self.folder.shift_folder(part.shift) / _name(kind)
            yield from _pieces(path, part.num_bytes(kind))
        path = self._path / _name(kind)
        yield from _pieces(path, path.stat().st_size)


def open_shift(folder: BatchFolder) -> Shift | None:
    """Begin a shift; None if another driver was quicker.

    Raises:
        FileNotFoundError: If the batch is gone.

    Cost: O(bytes of all part files), read once.
    """
    last = folder.newest_shift()
    start, tally = _found(folder, last)
    new = folder.path / f".{secrets.token_hex(8)}"
    new.mkdir(mode=0o700)
    write_new(new / _START, msgspec.json.encode(start))
    write_new(
        new / state_path(new).name, msgspec.json.encode(read_state(folder.shift_folder(last)))
    )
    if not publish(new, folder.shift_folder(last + 1)):
        return None
    shift = Shift(folder, last + 1, start, tally)
    # The driver before may have ended the batch since its state was read.
    ended = read_state(folder.shift_folder(last))
    if ended.is_terminal:
        shift.save(ended)
    return shift


def _found(folder: BatchFolder, last: int) -> tuple[ShiftStart, Tally]:
    """What counts of all shifts so far."""
    start, tally = _start_of(folder.shift_folder(last)), Tally()
    for part in start.parts:
        for kind in KINDS:
            path = folder.shift_folder(part.shift) / _name(kind)
            _count(path, part.num_bytes(kind), tally)
    path = folder.shift_folder(last)
    output_bytes, error_bytes = (_seal(path / _name(kind), tally) for kind in KINDS)
    parts, handed = start.parts, (*start.handed, *_handed_in(path / _HANDED))
    if output_bytes or error_bytes:
        parts = (*parts, Part(last, output_bytes, error_bytes))
    return ShiftStart(parts, handed), tally


def _start_of(path: Path) -> ShiftStart:
    """The first shift of a batch, which its creation made, found nothing."""
    try:
        return msgspec.json.decode((path / _START).read_bytes(), type=ShiftStart)
    except FileNotFoundError:
        return ShiftStart()


def _seal(path: Path, tally: Tally) -> int:
    """Bytes of a part that count, which are on disk then: its whole lines."""
    try:
        return _count(path, sync_file(path), tally)
    except FileNotFoundError:
        return 0


def _count(path: Path, num_bytes: int, tally: Tally) -> int:
    """Add the lines within the first bytes of a part. Returns: the bytes of whole lines."""
    whole_bytes = 0
    if num_bytes:
        with path.open("rb") as file:
            for line in file:
                written = _written(line)
                if written is None or whole_bytes + len(line) > num_bytes:
                    break
                tally.add(written)
                whole_bytes += len(line)
    return whole_bytes


def _written(line: bytes) -> Written | None:
    """None for a line whose writer died, or whose machine lost power."""
    try:
        return read_written(line) if line.endswith(b"\n") else None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return None


def _handed_in(path: Path) -> Iterator[Handed]:
    """What a shift noted, as far as it was written whole."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield msgspec.json.decode(line, type=Handed)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return


def _append(file: FileIO, data: bytes) -> None:
    end, rest = file.seek(0, os.SEEK_END), memoryview(data)
    try:
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        os.ftruncate(file.fileno(), end)
        raise


def _pieces(path: Path, num_bytes: int) -> Iterator[bytes]:
    if not num_bytes:
        return
    with path.open("rb") as file:
        while num_bytes and (piece := file.read(min(num_bytes, 1 << 20))):
            num_bytes -= len(piece)
            yield piece


def _name(kind: Kind) -> str:
    return f"{kind}.jsonl"

"""A file of JSON lines that is appended to, and that a crash leaves whole but for its last line."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Final, Self

from preble.clock import Clock
from preble.errors import ConfigError, PrebleError

SYNC_PERIOD_S: Final = 1.0
"""What was appended for longer is on disk, whatever happens to the machine."""

_CHUNK_BYTES: Final = 1024 * 1024


class CannotWrite(PrebleError):
    """The disk is full, or the file can no longer be written."""


class Journal:
    """Appends lines to a file, which nobody else may append to meanwhile.

    A last line that is torn, for whoever wrote it died, is cut off.

    Args:
        path: Of the file; made if there is none.
        clock: Says when to bring lines to disk.

    Raises:
        ConfigError: If it cannot be opened, or another run writes it.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._synced_s = clock.now_s()
        self._is_synced = True
        self._file = _opened(path)
        whole_bytes = _whole_bytes(path)
        if whole_bytes != path.stat().st_size:
            self._file.truncate(whole_bytes)

    def __enter__(self) -> Self:
        """Return the journal."""
        return self

    def __exit__(self, *_: object) -> None:
        """Bring all to disk and close it."""
        try:
            self.sync()
        finally:
            self._file.close()

    def append(self, lines: list[bytes]) -> None:
        """Lines, each without its newline, together. Raises: CannotWrite."""
        if not lines:
            return
        left = memoryview(b"\n".join(lines) + b"\n")
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise CannotWrite(f"cannot write {self.path}: {error.strerror}") from None
        self._is_synced = False
        if self._clock.now_s() - self._synced_s >= SYNC_PERIOD_S:
            self.sync()

    def sync(self) -> None:
        """Bring all that was appended to disk. Raises: CannotWrite."""
        if self._is_synced:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise CannotWrite(f"cannot write {self.path}: {error.strerror}") from None
        self._is_synced, self._synced_s = True, self._clock.now_s()

    def lines(self) -> Iterator[bytes]:
        """All that stands in it."""
        with self.path.open("rb") as file:
            yield from file


def _opened(path: Path) -> FileIO:
    """The file, locked. Raises: ConfigError."""
    with ExitStack() as opening:
        try:
            file = opening.enter_context(path.open("ab", buffering=0))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{path}: another run writes it just now") from None
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from None
        opening.pop_all()
        return file


def _whole_bytes(path: Path) -> int:
    """Bytes up to the last newline."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _CHUNK_BYTES)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0

"""What is to be done: each line of the input looked at once, before one runs. Pure.

Of each line are kept 25 bytes, so that a million need little more than 25 MB: its key, a hash of
its id while ids are compared, and whether it has been done.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from preble.batch.lines import KEY_BYTES, Line
from preble.errors import ConfigError

_SHOWN: Final = 5
"""Doubles that are named."""

_ROWS_AT_ONCE: Final = 10_000

_KEYS: Final = np.dtype(f"S{KEY_BYTES}")


class Written(msgspec.Struct, frozen=True):
    """What is read back of a line of an output or error file."""

    key: str
    id: str = ""
    custom_id: str = ""


class Plan:
    """The lines of an input by their place in it, and which of them have been done.

    Args:
        lines: All of them, in order.

    Raises:
        ConfigError: If there is none, or none that can have a job.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        keys, ids = bytearray(), bytearray()
        self.num_wrong = 0
        first_wrong = ""
        for line in lines:
            keys += line.key
            ids += blake2b(line.id.encode(errors="surrogatepass"), digest_size=8).digest()
            first_wrong = first_wrong or line.wrong
            self.num_wrong += bool(line.wrong)
        self._keys: NDArray[np.bytes_] = np.frombuffer(bytes(keys), dtype=_KEYS)
        self._suspects = _suspects(np.frombuffer(bytes(ids), dtype=np.uint64))
        self.done: NDArray[np.bool_] = np.zeros(len(self._keys), dtype=np.bool_)
        if not len(self._keys):
            raise ConfigError("the input has no lines")
        if self.num_wrong == len(self._keys):
            raise ConfigError(f"no line of the input can be run; {first_wrong}")

    def __len__(self) -> int:
        """How many lines there are."""
        return len(self._keys)

    @property
    def num_done(self) -> int:
        """How many are done."""
        return int(self.done.sum())

    def refuse_doubles(self, lines: Iterable[Line]) -> None:
        """Refuse ids that come twice: their results could not be told apart.

        Args:
            lines: All of them, again.

        Raises:
            ConfigError: Naming lines that have the id of an earlier one.
        """
        if not self._suspects:
            return
        first: dict[str, int] = {}
        doubles: list[str] = []
        for place, line in enumerate(lines):
            if place in self._suspects and line.number != first.setdefault(line.id, line.number):
                doubles.append(
                    f"line {line.number} has the id {line.id!r} of line {first[line.id]}"
                )
        if doubles:
            more = f", and {len(doubles) - _SHOWN} more" if len(doubles) > _SHOWN else ""
            msg = "; ".join(doubles[:_SHOWN]) + more
            raise ConfigError(f"ids must be unique: {msg}")

    def mark_done(self, name: str, written: Iterable[bytes]) -> None:
        """Lines that an earlier run has written.

        Args:
            name: Of the file, for the error.
            written: Its lines.

        Raises:
            ConfigError: If one is none of this input's.
        """
        order = np.argsort(self._keys)
        in_order = self._keys[order]
        rows = (_row(name, number, line) for number, line in enumerate(written, 1))
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            keys = np.frombuffer(b"".join(key for key, _ in some), dtype=_KEYS)
            places = np.searchsorted(in_order, keys).clip(max=len(in_order) - 1)
            strange = np.flatnonzero(in_order[places] != keys)
            if len(strange):
                msg = f"{name} holds results of other lines, or another model's, such as"
                msg = f"{msg} {some[int(strange[0])][1]!r}"
                raise ConfigError(f"{msg}; name another OUT, or replace it with --overwrite")
            self.done[order[places]] = True

    def pending(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Those that are not done.

        Args:
            lines: All of them, again.

        Raises:
            ConfigError: If they are not what they were.
        """
        place = -1
        for place, line in enumerate(lines):
            if (
                place >= len(self._keys)
                or bytes(self._keys[place]).ljust(KEY_BYTES, b"\0") != line.key
            ):
                raise ConfigError(f"line {line.number} of the input has changed since the start")
            if not self.done[place]:
                yield line
        if place + 1 != len(self._keys):
            raise ConfigError("the input has become shorter since the start")


def _row(name: str, number: int, line: bytes) -> tuple[bytes, str]:
    """Key and id of a line that was written. Raises: ConfigError."""
    try:
        row = msgspec.json.decode(line, type=Written)
        key = bytes.fromhex(row.key)
        if len(key) == KEY_BYTES:
            return key, row.custom_id or row.id
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        pass
    msg = f"{name}: line {number} is none that `preble batch run` wrote"
    raise ConfigError(f"{msg}; name another OUT, or replace it with --overwrite")


def _suspects(hashes: NDArray[np.uint64]) -> frozenset[int]:
    """Places whose hash is another's, too."""
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    return frozenset(int(place) for place in (*order[same], *order[same + 1]))

"""The lines of a trace file, plain or gzip, and what to say when one is wrong."""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, NamedTuple, TypeVar

import msgspec

from preble.errors import ConfigError

T = TypeVar("T")

PromptTokens = Annotated[int, msgspec.Meta(ge=1, le=2**24)]
OutputTokens = Annotated[int, msgspec.Meta(ge=0, le=2**24)]
BlockId = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]

_MAX_LINE_BYTES: Final = 2**26
_GZIP_MAGIC: Final = b"\x1f\x8b"


class Line(NamedTuple):
    """One line of a trace; `number` counts from 1."""

    path: Path
    number: int
    data: bytes

    def wrong(self, problem: str) -> ConfigError:
        """The error to raise for this line.

        Args:
            problem: What is wrong and what would be right; completes "line 7: ...".
        """
        return ConfigError(f"{self.path}, line {self.number}: {problem}")

    def decode(self, kind: type[T]) -> T:
        """The line's JSON.

        Raises:
            ConfigError: If it is no JSON, or not of this kind.
        """
        try:
            return msgspec.json.decode(self.data, type=kind)
        except msgspec.MsgspecError as error:
            raise self.wrong(f"{error}. Correct or remove the line.") from error


def read_lines(path: Path) -> Iterator[Line]:
    """All lines that are not blank, one at a time.

    Raises:
        ConfigError: If the file cannot be read, is damaged, or has a line above 64 MiB.
    """
    number = 0
    try:
        with path.open("rb") as raw, _unpacked(raw) as file:
            while data := file.readline(_MAX_LINE_BYTES):
                number += 1
                line = Line(path, number, data.strip())
                if len(data) == _MAX_LINE_BYTES:
                    raise line.wrong(f"is longer than {_MAX_LINE_BYTES} bytes. Split it.")
                if line.data:
                    yield line
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(
            f"{path}: cannot be read after line {number}: {error}. Check the file."
        ) from error


def _unpacked(raw: io.BufferedReader) -> io.BufferedIOBase:
    is_gzip = raw.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
    return gzip.GzipFile(fileobj=raw) if is_gzip else raw

"""The rows of an input, one at a time, whatever its format."""

import csv
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from preble.batch.formats import STDIO, Format
from preble.batch.parquet import read_rows as read_parquet
from preble.errors import ConfigError

Fields = dict[str, object]

_MOST_FIELD_CHARS: Final = 64 * 1024 * 1024


class Row(msgspec.Struct, frozen=True):
    """One row of an input."""

    number: int
    """Of the line, or, where records have several lines, of the record; from 1."""
    fields: Fields
    wrong: str = ""
    """Why it cannot be read; empty if it can."""


def read_rows(path: str, kind: Format) -> Iterator[Row]:
    """The rows of a file. Blank lines are none.

    Raises:
        ConfigError: If it cannot be read.
    """
    try:
        if kind == "jsonl":
            with Path(path).open("rb") as lines:
                yield from _json_rows(lines)
        elif kind == "csv":
            with Path(path).open(encoding="utf-8-sig", newline="") as text:
                yield from _csv_rows(text)
        else:
            yield from (Row(at, fields) for at, fields in enumerate(read_parquet(path), 1))
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise ConfigError(f"cannot read {path} as {kind}: {error}") from None


def readable(name: str, spooled: ExitStack) -> str:
    """A path that can be read twice: stdin is first taken whole, on disk.

    Args:
        name: Of a file, or `-`.
        spooled: Where the copy goes with.

    Raises:
        ConfigError: If there is no such file.
    """
    if name != STDIO:
        if not Path(name).is_file():
            raise ConfigError(f"{name}: no such file")
        return name
    copy = spooled.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - it is the stack's
    shutil.copyfileobj(sys.stdin.buffer, copy)
    copy.flush()
    return f"/dev/fd/{copy.fileno()}"


def _json_rows(lines: Iterable[bytes]) -> Iterator[Row]:
    decoder = msgspec.json.Decoder(Fields)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield Row(number, decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            yield Row(number, {"": line.decode(errors="replace")}, f"is no JSON object: {error}")


def _csv_rows(text: Iterable[str]) -> Iterator[Row]:
    csv.field_size_limit(_MOST_FIELD_CHARS)
    for number, record in enumerate(csv.DictReader(text, restkey="", restval=None), 1):
        is_ragged = "" in record or None in record.values()
        wrong = "has not as many fields as the first line" if is_ragged else ""
        yield Row(number, dict(record), wrong)

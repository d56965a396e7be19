"""Where results go: files that a later run goes on with, or stdout.

CSV and Parquet files are made at the end, of the JSON lines that `OUT.rows.jsonl` collects: they
cannot be appended to so that a crash leaves them whole.
"""

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, Self, TextIO

import msgspec

from preble.batch.formats import Format
from preble.batch.journal import CannotWrite, Journal
from preble.batch.options import RunOptions
from preble.batch.parquet import require_pyarrow, write_rows
from preble.batch.plan import Plan
from preble.batch.results import COLUMNS
from preble.batch.rows import read_rows
from preble.clock import Clock
from preble.errors import ConfigError


class Sink(Protocol):
    """Takes lines."""

    def append(self, lines: list[bytes]) -> None:
        """Lines, each without its newline. Raises: CannotWrite."""
        ...


class Outputs:
    """The output and the error file of one run.

    Args:
        options: Where they are.
        clock: Says when to bring lines to disk.

    Raises:
        ConfigError: If they cannot be written, or stand there and are not to.
    """

    def __init__(self, options: RunOptions, clock: Clock) -> None:
        self._options = options
        self._open = ExitStack()
        with ExitStack() as opening:
            opening.callback(self._open.close)
            self._journals = self._opened(clock)
            self.answers, self.errors = self._sinks()
            opening.pop_all()

    def __enter__(self) -> Self:
        """Return the outputs."""
        return self

    def __exit__(self, *_: object) -> None:
        """Bring all to disk; an error file without a line goes."""
        self._open.close()
        path = Path(self._options.errors_path)
        if self._options.errors_path and not path.stat().st_size:
            path.unlink()

    def mark_done(self, plan: Plan) -> int:
        """Tell the plan what earlier runs have written. Returns: how many lines failed then."""
        for journal in self._journals:
            plan.mark_done(str(journal.path), journal.lines())
        is_kept = bool(self._options.errors_path)
        return sum(1 for _ in self._journals[-1].lines()) if self._journals and is_kept else 0

    def finish(self) -> None:
        """Make the file that was asked for, once all lines are done. Raises: CannotWrite."""
        out, kind = self._options.out, self._options.out_format
        if self._options.is_to_stdout or kind == "jsonl":
            return
        rows = rows_path(out)
        draft = Path(f"{out}.new")
        try:
            _write_table(str(draft), kind, _flat_rows(rows))
            draft.replace(out)
            rows.unlink()
        except OSError as error:
            raise CannotWrite(f"cannot write {out}: {error.strerror}") from None

    def _opened(self, clock: Clock) -> list[Journal]:
        """The files that are kept: of answers, then of errors."""
        options = self._options
        if options.out_format == "parquet":
            require_pyarrow()
            if options.is_to_stdout:
                raise ConfigError("a Parquet file cannot go to stdout: name a file as OUT")
        paths = [] if options.is_to_stdout else [self._answers_path()]
        if options.errors_path:
            paths.append(Path(options.errors_path))
        if options.existing == "refuse":
            _refuse_existing([Path(options.out), *paths])
        if options.existing == "overwrite":
            _empty([Path(options.out), *paths])
        if options.is_retrying_failed and options.errors_path:
            _empty([Path(options.errors_path)])
        self._unpack()
        return [self._open.enter_context(Journal(path, clock)) for path in paths]

    def _answers_path(self) -> Path:
        out = self._options.out
        return Path(out) if self._options.out_format == "jsonl" else rows_path(out)

    def _unpack(self) -> None:
        """A table that an earlier run finished becomes rows again, to be gone on with."""
        options = self._options
        out, kind = Path(options.out), options.out_format
        if options.is_to_stdout or kind == "jsonl" or not out.exists():
            return
        rows = rows_path(options.out)
        if rows.exists():
            return
        draft = rows.with_name(f"{rows.name}.new")
        with draft.open("wb") as file:
            for row in read_rows(options.out, kind):
                file.write(msgspec.json.encode(row.fields) + b"\n")
        draft.replace(rows)

    def _sinks(self) -> tuple[Sink, Sink]:
        errors = self._journals[-1] if self._options.errors_path else Lines(sys.stderr)
        if not self._options.is_to_stdout:
            return self._journals[0], errors
        is_csv = self._options.out_format == "csv"
        return (Table(sys.stdout) if is_csv else Lines(sys.stdout)), errors


class Lines:
    """Lines on a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def append(self, lines: list[bytes]) -> None:
        """Lines, at once."""
        self._stream.writelines(line.decode() + "\n" for line in lines)
        self._stream.flush()


class Table:
    """Rows of CSV on a stream, under a line with their names."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore")
        self._writer.writeheader()

    def append(self, lines: list[bytes]) -> None:
        """Rows, at once."""
        self._writer.writerows(msgspec.json.decode(line) for line in lines)
        self._stream.flush()


def rows_path(out: str) -> Path:
    """Where the rows of a table are collected."""
    return Path(f"{out}.rows.jsonl")


def _flat_rows(rows: Path) -> Iterator[dict[str, object]]:
    with rows.open("rb") as lines:
        for line in lines:
            row = msgspec.json.decode(line, type=dict[str, object])
            yield {name: row.get(name) for name in COLUMNS}


def _write_table(path: str, kind: Format, rows: Iterable[dict[str, object]]) -> None:
    if kind == "parquet":
        write_rows(path, rows)
        return
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(row.values() for row in rows)


def _refuse_existing(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.exists() and path.stat().st_size:
            raise ConfigError(
                f"{path} exists; --overwrite replaces it, without a flag it is resumed"
            )


def _empty(paths: Iterable[Path]) -> None:
    """Nothing of an earlier run is left. Raises: ConfigError."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot replace {path}: {error.strerror}") from None

"""Parquet files, by pyarrow, which only those need who have such files."""

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from itertools import islice
from typing import Any, Final

from preble.errors import ConfigError

_ROWS_AT_ONCE: Final = 1_024


def read_rows(path: str) -> Iterator[dict[str, object]]:
    """The rows, a group at a time. Raises: ConfigError."""
    arrow = _pyarrow("pyarrow.parquet")
    with arrow.ParquetFile(path) as file:
        for group in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            yield from group.to_pylist()


def write_rows(path: str, rows: Iterable[Mapping[str, object]]) -> None:
    """A new file, whose columns are those of the first rows. Raises: ConfigError."""
    arrow, parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")
    writer: Any = None
    try:
        source = iter(rows)
        while some := list(islice(source, _ROWS_AT_ONCE)):
            table = arrow.Table.from_pylist(some, schema=writer and writer.schema)
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
        if writer is None:
            parquet.write_table(arrow.table({}), path)
    finally:
        if writer is not None:
            writer.close()


def require_pyarrow() -> None:
    """Refuse early what could not be done late. Raises: ConfigError."""
    _pyarrow("pyarrow.parquet")


def _pyarrow(name: str) -> Any:  # noqa: ANN401 - it ships no types
    try:
        return import_module(name)
    except ModuleNotFoundError:
        msg = "Parquet files need pyarrow: pip install 'preble[parquet]'"
        raise ConfigError(msg) from None

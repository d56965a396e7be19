"""Which format a file has: by its suffix, unless the user says it."""

from pathlib import PurePath
from typing import Final, Literal

from preble.errors import ConfigError

Format = Literal["jsonl", "csv", "parquet"]

STDIO: Final = "-"

_SUFFIXES: Final[dict[str, Format]] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


def format_of(name: str, given: Format | None) -> Format:
    """The format of a file, or of `-`, which is JSON lines unless it is given.

    Raises:
        ConfigError: If the suffix says nothing.
    """
    if given:
        return given
    if name == STDIO:
        return "jsonl"
    found = _SUFFIXES.get(PurePath(name).suffix.lower())
    if found is None:
        known = ", ".join(_SUFFIXES)
        raise ConfigError(f"{name}: the suffix tells no format ({known}); give --format")
    return found

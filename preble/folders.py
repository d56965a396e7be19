"""Folders of a user: of what can be made again, and of what must be kept (XDG directories)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

EMBEDDED_MODEL: Final = "SmolLM2-135M-Instruct"
"""The model that `sglang` serves where none is named; `preble engine install cpu` makes it."""


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where what can be made again is kept (XDG base directories)."""
    base = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME", ".")) / ".cache")
    return Path(base) / "preble"


def embedded_model_folder(environ: Mapping[str, str]) -> Path:
    """Where the embedded model lies once it was converted."""
    return cache_folder(environ) / "models" / EMBEDDED_MODEL


def data_folder(environ: Mapping[str, str]) -> Path:
    """Where embedded Redis keeps its data when no folder was named (XDG base directories)."""
    base = environ.get("XDG_DATA_HOME") or str(Path(environ.get("HOME", ".")) / ".local/share")
    return Path(base) / "preble"

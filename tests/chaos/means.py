"""What some faults need and only some hosts have: a disk, a network namespace, libfaketime."""

import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from chaos.disk import Disk
from chaos.namespace import Namespace

FAKETIME: Final = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
"""Where Debian's package `libfaketime` puts it."""

_PROBE_S: Final = 5.0
_T = TypeVar("_T")


class Means(msgspec.Struct):
    """What is there, and why the rest is not."""

    disk: Disk | None = None
    namespace: Namespace | None = None
    faketime: Path | None = None
    missing: dict[str, str] = {}
    """Kinds of faults that are skipped, each with its reason."""


@contextmanager
def found_means(binary: Path, redis_folder: Path, *, is_wanted: bool) -> Generator[Means]:
    """All that this host has, as long as it is needed.

    Args:
        binary: Of Redis.
        redis_folder: Becomes the disk.
        is_wanted: Else none.
    """
    means = Means()
    if is_wanted:
        means.disk = _try(means, "disk full", Disk.why_not(), lambda: _mounted(redis_folder))
        means.namespace = _try(
            means, "worker's cable pulled", Namespace.why_not(), Namespace.create
        )
        means.faketime = _try(means, "clock jumped", _why_no_faketime(binary), lambda: FAKETIME)
    try:
        yield means
    finally:
        if means.namespace:
            means.namespace.remove()
        if means.disk:
            means.disk.unmount()


def _why_no_faketime(binary: Path) -> str:
    """Empty if the library is there and the server runs with it; with jemalloc none does."""
    if not FAKETIME.exists():
        return f"there is no {FAKETIME}"
    try:
        subprocess.run(
            [binary, "--version"], check=True, capture_output=True, timeout=_PROBE_S,
            env={"LD_PRELOAD": str(FAKETIME)},
        )  # fmt: skip
    except (subprocess.SubprocessError, OSError):
        return f"{binary} does not run with {FAKETIME}"
    return ""


def _mounted(folder: Path) -> Disk:
    disk = Disk(folder)
    disk.mount()
    return disk


def _try(means: Means, kind: str, why_not: str, make: Callable[[], _T]) -> _T | None:
    if not why_not:
        try:
            return make()
        except subprocess.CalledProcessError as error:
            why_not = f"the kernel does not let us: {error.stderr.decode().strip()}"
    means.missing[kind] = why_not
    return None

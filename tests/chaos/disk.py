"""A small disk for Redis's file, that can be full: a tmpfs, which takes root to mount."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

SIZE_BYTES: Final = 4 * 1024**3
"""A bound, not what it takes."""
_ATTEMPTS: Final = 20


class Disk:
    """A file system of its own.

    Args:
        folder: Where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def why_not() -> str:
        """Why there can be none here; empty if there can."""
        if os.geteuid() != 0:
            return "a disk of its own needs root"
        return "" if shutil.which("mount") else "there is no `mount`"

    def mount(self) -> None:
        """Make it. Raises: CalledProcessError if the kernel does not let us."""
        _run("mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(self._folder))

    def fill(self) -> None:
        """Leave no room but for some pages: what is written meanwhile may need them.

        Raises:
            CalledProcessError: If more is written each time than was left.
        """
        for spare_pages in range(1, _ATTEMPTS):
            with contextlib.suppress(subprocess.CalledProcessError):
                return self._resize(self._used_bytes(spare_pages))
        return self._resize(self._used_bytes(_ATTEMPTS))

    def free(self) -> None:
        """Give all its room back."""
        self._resize(SIZE_BYTES)

    def unmount(self) -> None:
        """Undo `mount`, whoever still uses it."""
        subprocess.run(["umount", "--lazy", str(self._folder)], check=False, capture_output=True)  # noqa: S607  # PATH finds it

    def _used_bytes(self, spare_pages: int) -> int:
        state = os.statvfs(self._folder)
        return (state.f_blocks - state.f_bfree + spare_pages) * state.f_frsize

    def _resize(self, size_bytes: int) -> None:
        _run("mount", "-o", f"remount,size={size_bytes}", str(self._folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)

"""What the kernel tells of a process."""

import os
from pathlib import Path
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_CAUGHT: Final = "SigCgt:"


def rss_bytes(pid: int) -> int:
    """Resident memory; 0 if the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def handles(pid: int, number: int) -> bool:
    """Whether the process has a handler for a signal; not if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(_CAUGHT)]
    return any(mask >> (number - 1) & 1 for mask in masks)

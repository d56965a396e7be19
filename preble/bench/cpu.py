"""CPU time of processes, from /proc."""

import os
from pathlib import Path
from typing import Final

_TICK_US: Final = 1_000_000 / os.sysconf("SC_CLK_TCK")
_KINDS: Final = {
    "valkey-server": "redis",
    "preble_api": "api",
    "preble.scheduler_process": "scheduler",
    "preble_workers": "worker",
}


def cpu_us_by_kind(parent_pid: int) -> dict[str, float]:
    """CPU microseconds so far of a supervisor's children, by what they are.

    Cost: resolution is one clock tick, usually 10 ms: measure over seconds.
    """
    totals: dict[str, float] = {}
    for pid in _children(parent_pid):
        if kind := _kind(pid):
            totals[kind] = totals.get(kind, 0.0) + _cpu_us(pid)
    return totals


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def _kind(pid: int) -> str | None:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return next((kind for word, kind in _KINDS.items() if word in command), None)


def _cpu_us(pid: int) -> float:
    """User and system time; the name before them may hold spaces, but ends with `)`."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user_ticks, system_ticks = int(fields[11]), int(fields[12])
    return (user_ticks + system_ticks) * _TICK_US

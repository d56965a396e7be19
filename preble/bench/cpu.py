"""CPU time of processes and of the machine, from /proc."""

import os
import time
from pathlib import Path
from typing import Final

import msgspec

_TICK_US: Final = 1_000_000 / os.sysconf("SC_CLK_TCK")
_KINDS: Final = {
    "valkey-server": "redis",
    "preble_api": "api",
    "preble.scheduler_process": "scheduler",
    "preble_workers": "worker",
}
_SINGLE: Final = ("redis", "api", "scheduler", "client")
"""Kinds of which there is one process: none can use more than one core."""

_BUSY: Final = 0.9
"""Share of what there is, beyond which it counts as the limit."""


class CpuFigures(msgspec.Struct, frozen=True):
    """Means over a stretch of time, in cores."""

    cores: int
    """Of the machine."""
    used: dict[str, float]
    """By a stack's processes, by what they are, and by its client."""
    used_by_others: float
    is_limit: bool
    """Whether the machine, or one of the processes that cannot use more than a core, was busy
    for more than nine tenths of the time."""


class CpuMeter:
    """Measures from now on.

    Args:
        parent_pid: A supervisor, whose children count; this process counts as the client.
    """

    def __init__(self, parent_pid: int) -> None:
        self._parent_pid = parent_pid
        self._began_s = time.monotonic()
        self._before_us = self._used_us()
        self._idle_before_us = _idle_us()

    def figures(self) -> CpuFigures:
        """What was used until now."""
        elapsed_us = (time.monotonic() - self._began_s) * 1e6
        before_us = self._before_us
        used = {
            kind: round((now_us - before_us.get(kind, 0.0)) / elapsed_us, 3)
            for kind, now_us in self._used_us().items()
        }
        idle = (_idle_us() - self._idle_before_us) / elapsed_us
        return figures_of(used, idle=idle, cores=os.cpu_count() or 1)

    def _used_us(self) -> dict[str, float]:
        return cpu_us_by_kind(self._parent_pid) | {"client": time.process_time() * 1e6}


def figures_of(used: dict[str, float], *, idle: float, cores: int) -> CpuFigures:
    """What the cores used by each kind, and those that were idle, come to."""
    busy = cores - idle
    most_of_one = max(used.get(kind, 0.0) for kind in _SINGLE)
    is_limit = busy > _BUSY * cores or most_of_one > _BUSY
    others = max(0.0, busy - sum(used.values()))
    return CpuFigures(cores, used, round(others, 3), is_limit)


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


def _idle_us() -> float:
    """Of all cores of the machine; waiting for a disk counts as idle."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return (int(fields[4]) + int(fields[5])) * _TICK_US

"""What a finding is, and how its figures are written."""

from typing import Final, Literal

import msgspec

Level = Literal["broken", "warning", "note"]
LEVELS: Final[tuple[Level, ...]] = ("broken", "warning", "note")
"""The worst first."""

Subject = Literal["redis", "pool", "jobs", "events"]

NEARLY_FULL: Final = 0.8
"""Share of a bound from which on it is told that it comes near."""

_KIB: Final = 1024
_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600


class Finding(msgspec.Struct, frozen=True):
    """One thing that is so, and what to do about it."""

    level: Level
    subject: Subject
    seen: str
    """With figures."""
    why: str
    """Why it matters, in a line."""
    remedy: str = ""
    """A command or a setting; empty where all is well."""


def several(number: int, what: str, ending: str = "s") -> str:
    """`1 job`, `2,000 jobs`."""
    return f"{number:,} {what}{'' if number == 1 else ending}"


def size(number_bytes: float) -> str:
    """Bytes in the unit that people would take."""
    for unit in ("B", "KiB", "MiB"):
        if number_bytes < _KIB:
            return f"{number_bytes:.4g} {unit}"
        number_bytes /= _KIB
    return f"{number_bytes:.4g} GiB"


def lasting(seconds: float) -> str:
    """A duration in the unit that people would take."""
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.1f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    return f"{seconds / _HOUR_S:.1f} h"

"""Figures for people. Pure; a dash is what is not known."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

NOT_KNOWN: Final = "\N{EN DASH}"
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3_600.0
_DAY_S: Final = 86_400.0
_SHORT_ID: Final = 14


def number(value: float | None) -> str:
    """With commas: 12,345."""
    return NOT_KNOWN if value is None else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """In three digits or so: 12.3 k."""
    if value is None:
        return NOT_KNOWN
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def percent(share: float | None) -> str:
    """Of 0..1."""
    return NOT_KNOWN if share is None else f"{share:.0%}"


def seconds(value: float | None) -> str:
    """As short as it can be told: 12 ms, 3.4 s, 2 min 5 s, 3 h 2 min."""
    if value is None:
        return NOT_KNOWN
    if abs(value) < 1:
        return f"{value * 1_000:.3g} ms" if value else "0 s"
    if value < _MINUTE_S:
        return f"{value:.3g} s"
    large_s, small_s, names = _units_for(value)
    large, rest = divmod(value, large_s)
    return f"{large:.0f} {names[0]} {rest // small_s:.0f} {names[1]}"


def _units_for(value: float) -> tuple[float, float, tuple[str, str]]:
    if value < _HOUR_S:
        return _MINUTE_S, 1.0, ("min", "s")
    if value < _DAY_S:
        return _HOUR_S, _MINUTE_S, ("h", "min")
    return _DAY_S, _HOUR_S, ("d", "h")


def precise(value: float | None) -> str:
    """Seconds to be compared with others below them: 0.025."""
    return NOT_KNOWN if value is None else f"{value:,.3f}"


def cost(value: float | None) -> str:
    """A policy's own unit."""
    return NOT_KNOWN if value is None else f"{value:.4g}"


def moment(unix_s: float | None) -> str:
    """2026-11-23 08:53:18, in UTC."""
    if unix_s is None:
        return NOT_KNOWN
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def clock(unix_s: float | None) -> str:
    """The time of day alone: 08:53:18."""
    return NOT_KNOWN if unix_s is None else datetime.fromtimestamp(unix_s, UTC).strftime("%H:%M:%S")


def fine_clock(unix_s: float | None) -> str:
    """The same to the millisecond: 08:53:18.042."""
    if unix_s is None:
        return NOT_KNOWN
    return datetime.fromtimestamp(unix_s, UTC).strftime("%H:%M:%S.%f")[:-3]


def signed(value: float) -> str:
    """A difference of seconds: +0.206."""
    return f"{round(value, 3) + 0.0:+.3f}"


def iso(unix_s: float | None) -> str:
    """For `datetime` of a `time` element."""
    return "" if unix_s is None else datetime.fromtimestamp(unix_s, UTC).isoformat()


def short(text: str) -> str:
    """An id, as far as a table has room."""
    return text if len(text) <= _SHORT_ID else f"{text[:6]}…{text[-6:]}"


def width(share: float) -> str:
    """A share of 0..1 as a length in SVG."""
    return f"{100 * share:.3f}%"


FILTERS: Final[dict[str, Callable[..., str]]] = {
    "number": number, "compact": compact, "percent": percent, "seconds": seconds,
    "precise": precise, "signed": signed, "cost": cost, "moment": moment, "clock": clock,
    "fine_clock": fine_clock, "iso": iso, "short_id": short, "width": width,
}  # fmt: skip

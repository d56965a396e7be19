"""What stands in each row of a table, as HTML: bars, states, moments. Pure.

They are drawn by the hundred in a page; as macros of a template they would cost more.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup, escape

from preble_api.console.formats import NOT_KNOWN, width

_BAR: Final = (
    '<svg class="bar {}" aria-hidden="true"><rect width="100%" height="100%" class="rest"/>'
    '<rect width="{}" height="100%" class="fill"/></svg>'
)


def bar(share: float, kind: str = "") -> Markup:
    """A share of 0..1 as a bar.

    Args:
        share: How much of it is filled.
        kind: By which it is coloured.
    """
    return Markup(_BAR.format(escape(kind), width(share)))  # noqa: S704  # escaped


def badge(state: str) -> Markup:
    """How something stands."""
    name = escape(state)
    return Markup(f'<span class="badge s-{name}">{name.replace("_", " ")}</span>')  # noqa: S704  # escaped


def time(unix_s: float | None, short: bool = False) -> Markup:  # noqa: FBT001, FBT002  # as templates call it
    """A moment in UTC: of its day alone, if short."""
    if unix_s is None:
        return escape(NOT_KNOWN)
    at = datetime.fromtimestamp(unix_s, UTC)
    moment = f"{at:%Y-%m-%d %H:%M:%S}"
    shown = moment[-8:] if short else moment
    return Markup(f'<time datetime="{at.isoformat()}" title="{moment}">{shown}</time>')  # noqa: S704  # figures


MARKS: Final[dict[str, Callable[..., Markup]]] = {"bar": bar, "badge": badge, "time": time}

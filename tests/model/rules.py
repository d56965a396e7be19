"""What differs between versions of the scripts, and what Lua does to lists."""

from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Rules(NamedTuple):
    """Those of `preble/broker/scripts`, unless another is set."""

    quarantine_after: int = 2
    """After how many deaths a job runs alone; 0 for never."""
    max_attempts: int = 5
    """After how many it fails."""
    orders_claims: bool = True
    """Whether CLAIM refuses a late copy of an earlier one."""


def put(items: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    """The items with one of them replaced."""
    return (*items[:index], item, *items[index + 1 :])


def without(items: tuple[int, ...], item: int) -> tuple[int, ...]:
    """LREM items 1 item."""
    at = items.index(item)
    return items[:at] + items[at + 1 :]

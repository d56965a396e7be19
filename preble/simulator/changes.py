"""What happens to instances while a workload is replayed: they turn slow, join, die.

    there from the start ──▶ dies ──▶ (noticed `detect_s` later) ──▶ joins: a new life
    not there ──▶ joins

An instance whose first change of life is to join is not there before. Whoever asked for the
changes made them, so what makes no sense is refused before the replay begins.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Literal

import msgspec

from preble.errors import ConfigError

ChangeKind = Literal["slow", "join", "die"]


class Change(msgspec.Struct, frozen=True):
    """One instance changes at one moment.

    Args:
        at_s: Seconds from the workload's start.
        instance: Its place in `PoolSettings.speeds`.
        kind: `slow`: from then on it takes `factor` times as long as its speed says. `join`:
            a life begins, with an empty KV cache. `die`: the engine is lost, with its KV cache
            and all requests in it; they come back to the scheduler `detect_s` later.
        factor: For `slow`; 1 ends it.
    """

    at_s: float
    instance: int
    kind: ChangeKind
    factor: float = 1.0


_TEXT: Final = re.compile(r"(slow|join|die)@([\d.]+):(\d+)(?:x([\d.]+))?")


def parse_changes(text: str) -> tuple[Change, ...]:
    """Changes from `slow@60:0x2,die@120:1,join@300:1`: kind, second, instance, and a factor.

    Raises:
        ConfigError: If the text says something else.
    """
    return tuple(_parsed(part.strip()) for part in text.split(",")) if text else ()


def _parsed(text: str) -> Change:
    found = _TEXT.fullmatch(text)
    if found is None or (found[1] == "slow") != bool(found[4]):
        raise ConfigError(
            f"{text!r} is no change: write slow@SECOND:INSTANCExFACTOR, join@SECOND:INSTANCE "
            "or die@SECOND:INSTANCE"
        )
    kinds: dict[str, ChangeKind] = {"slow": "slow", "join": "join", "die": "die"}
    try:
        return Change(float(found[2]), int(found[3]), kinds[found[1]], float(found[4] or 1))
    except ValueError:
        raise ConfigError(f"{text!r} has a number that is none") from None


def first_instances(changes: Sequence[Change], num_instances: int) -> list[int]:
    """Those that are there from the start: whose first change of life is not to join.

    Raises:
        ConfigError: If an instance joins that is there, or dies that is not, if there is none of
            that number, if a factor is not positive, or if none is left in the end.
    """
    for change in changes:
        if not (change.instance < num_instances and change.at_s >= 0 and change.factor > 0):
            raise ConfigError(f"{change} is not possible with {num_instances} instances")
    lives = [_life(changes, instance) for instance in range(num_instances)]
    for instance, life in enumerate(lives):
        if any(kind == before for before, kind in pairwise(life)):
            raise ConfigError(f"instance {instance} must die before it joins, and join to die")
    if all(life and life[-1] == "die" for life in lives):
        raise ConfigError("no instance is left after these changes: let one live")
    return [instance for instance, life in enumerate(lives) if life[:1] != ["join"]]


def _life(changes: Sequence[Change], instance: int) -> list[ChangeKind]:
    """An instance's joins and deaths, in order."""
    ordered = sorted(changes, key=lambda change: change.at_s)
    return [one.kind for one in ordered if one.instance == instance and one.kind != "slow"]

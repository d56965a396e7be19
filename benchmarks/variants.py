"""Policies with something left out or changed: an experiment names them by their import paths.

What production has stands in `preble.policy`; none of these is meant to be used.
"""

import math
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from preble.policy import Options, Policy
from preble.policy.e2 import E2
from preble.policy.preble import DEFAULT, least_delay
from preble.policy.readjustment import Readjustment
from preble.prefix_tree import Node

_NO_IMBALANCE: Final = 1.0
"""A decode ratio that no instance exceeds."""


def path_of(make: Callable[[], Policy]) -> str:
    """The import path of one of these."""
    return f"{make.__module__}:{make.__name__}"


# `preble` without a term.


def no_backlog() -> Policy:
    """It does not count what waits there for its prefill."""
    return least_delay(replace(DEFAULT, backlog=0.0))


def no_decode() -> Policy:
    """It does not count how long it decodes."""
    return least_delay(replace(DEFAULT, decode=0.0))


def no_jobs_beside() -> Policy:
    """N = 0: those that are there do not mind a prefill."""
    return least_delay(replace(DEFAULT, beside=0.0))


def nobody_to_come() -> Policy:
    """Nobody comes while a prefill runs."""
    return least_delay(replace(DEFAULT, to_come=0.0))


def any_length() -> Policy:
    """However long a prefill is, it counts in full for others."""
    return least_delay(replace(DEFAULT, most_prefill_s=math.inf))


def no_drag() -> Policy:
    """Its context costs nobody else anything."""
    return least_delay(replace(DEFAULT, drag=0.0))


def no_share() -> Policy:
    """Prefills do not draw each other out."""
    return least_delay(replace(DEFAULT, most_share=0.0))


def no_recompute() -> Policy:
    """What it brings in evicts nothing that is missed."""
    return least_delay(replace(DEFAULT, most_recompute=0.0))


def no_kv_memory() -> Policy:
    """Memory is there when it is needed."""
    return least_delay(replace(DEFAULT, memory=0.0))


# `e2` step by step.


class _NoReadjustment(Readjustment):
    """Who holds a prefix is who takes it."""

    def lighter(self, options: Options, row: int) -> None:
        """Nowhere."""

    def replica(self, options: Options) -> None:
        """Nowhere."""

    def waited(self, leaf: Node, wait_s: float, *, now_s: float, window_s: float) -> None:
        """Of no interest."""


def e2_placement() -> Policy:
    """Exploit or explore, and nothing else."""
    return E2(readjustment=_NoReadjustment(), imbalance_ratio=_NO_IMBALANCE)


def e2_readjustment() -> Policy:
    """With rebalancing and replicas, but no preference for those that decode."""
    return E2(imbalance_ratio=_NO_IMBALANCE)

"""Policies: the rules that pick an instance for a job.

A policy sees every live instance as a row, with what it holds of the prompt and its load in
columns, and answers with a row. It does no I/O and asks no clock: the same options in the
same order give the same choice, but for what it counts itself (round robin's turn). What each
weighs stands in docs/reference/policies.md; how to bring one's own, in docs/howto/own_policy.md.
"""

from collections.abc import Callable
from typing import Final

from preble.policy import baselines, peers
from preble.policy.aibrix_preble import aibrix_preble
from preble.policy.choice import Choice, Options, Policy
from preble.policy.consistent_hash import consistent_hash
from preble.policy.e2 import E2
from preble.policy.own import own_policy
from preble.policy.preble import least_delay

__all__ = ["Choice", "Options", "Policy", "create_policy"]

_POLICIES: Final[dict[str, Callable[[int], Policy]]] = {
    "preble": lambda _: least_delay(),
    "e2": lambda _: E2(),
    "round_robin": lambda _: baselines.round_robin(),
    "random": baselines.random,
    "least_outstanding": lambda _: baselines.least_outstanding(),
    "consistent_hash": lambda _: consistent_hash(),
    "longest_prefix": lambda _: peers.longest_prefix(),
    "sglang_cache_aware": lambda _: peers.sglang_cache_aware(),
    "smg": lambda _: peers.smg(),
    "dynamo_kv": lambda _: peers.dynamo_kv(),
    "aibrix_preble": lambda _: aibrix_preble(),
    "lmetric": lambda _: peers.lmetric(),
}


def create_policy(name: str, *, seed: int = 0) -> Policy:
    """A new policy.

    Args:
        name: As in the settings: a `PolicyName`, or `module:attribute` of one's own.
        seed: Counts for those that draw.

    Raises:
        ConfigError: If there is none of this name, or what the import path leads to makes none.
    """
    make = _POLICIES.get(name)
    return make(seed) if make else own_policy(name, seed=seed)

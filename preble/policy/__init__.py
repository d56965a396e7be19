"""Policies: the rules that pick an instance for a job.

A policy sees every live instance as a row, with what it holds of the prompt and its load in
columns, and answers with a row. It does no I/O and asks no clock: the same options in the
same order give the same choice, but for what it counts itself (round robin's turn). What each
weighs stands in docs/reference/policies.md.
"""

from collections.abc import Callable
from typing import Final

from preble.config import PolicyName
from preble.policy import baselines, peers
from preble.policy.aibrix_preble import aibrix_preble
from preble.policy.choice import Choice, Options, Policy
from preble.policy.consistent_hash import consistent_hash
from preble.policy.e2 import E2
from preble.policy.preble import least_delay

__all__ = ["Choice", "Options", "Policy", "create_policy"]

_POLICIES: Final[dict[PolicyName, Callable[[int], Policy]]] = {
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


def create_policy(name: PolicyName, *, seed: int = 0) -> Policy:
    """A new policy by its name in the settings; `seed` counts for those that draw."""
    return _POLICIES[name](seed)

"""Policies: the rules that pick an instance for a job.

A policy sees every live instance with what it holds of the prompt and what the job would
cost there, and answers with its choice. It does no I/O and asks no clock: the same options
in the same order give the same choice, but for what it counts itself (round robin's turn).
"""

from collections.abc import Callable
from typing import Final

from preble.config import PolicyName
from preble.policy.choice import Policy
from preble.policy.e2 import E2
from preble.policy.least_outstanding import LeastOutstanding
from preble.policy.round_robin import RoundRobin

_POLICIES: Final[dict[PolicyName, Callable[[], Policy]]] = {
    "e2": E2,
    "round_robin": RoundRobin,
    "least_outstanding": LeastOutstanding,
}


def create_policy(name: PolicyName) -> Policy:
    """A new policy by its name in the settings."""
    return _POLICIES[name]()

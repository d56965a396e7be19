"""Who is compared."""

from collections.abc import Callable
from typing import Final, get_args

from msgspec.structs import replace

from benchmarks.spec import Contender
from benchmarks.variants import path_of
from preble.config import PolicyName
from preble.policy import Policy

_OURS: Final[tuple[PolicyName, ...]] = ("preble", "e2")
"""Policies that are no peers."""

PEERS: Final = tuple(
    Contender(name=policy, policy=policy) for policy in get_args(PolicyName) if policy not in _OURS
)
"""As their originals, all eager. What differs stands in docs/reference/policies.md."""

PEER_NAMES: Final = tuple(peer.name for peer in PEERS)
E2: Final = Contender(name="e2", policy="e2")
EAGER: Final = Contender(name="preble eager", policy="preble")
LATE: Final = Contender(name="preble", policy="preble", binding="late")
"""The default of the dispatcher."""

OUR_NAMES: Final = (LATE.name, EAGER.name)
EVERYONE: Final = (*PEERS, E2, EAGER, LATE)


def variant(of: Contender, name: str, make: Callable[[], Policy]) -> Contender:
    """Alike, but for the policy."""
    return replace(of, name=name, policy=path_of(make))


def peers(*names: PolicyName) -> tuple[Contender, ...]:
    """Some of them."""
    return tuple(peer for peer in PEERS if peer.policy in names)


STRONG: Final = (
    *peers("least_outstanding", "sglang_cache_aware", "smg", "dynamo_kv", "lmetric"),
    E2,
    EAGER,
    LATE,
)
"""Where everyone would be too many: the best peers, their baseline, and ours."""

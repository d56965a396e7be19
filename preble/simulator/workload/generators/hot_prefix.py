"""One prefix that nearly all requests have in common, at rest and on the move."""

from typing import Final

import numpy as np

from preble.simulator.workload.arrivals import poisson
from preble.simulator.workload.draw import Floats, Ints, group_count, shuffled, zipf_weights
from preble.simulator.workload.generators.assemble import bodies, with_questions
from preble.simulator.workload.prefix import root
from preble.simulator.workload.request import Workload

_HOT_SHARE: Final = 0.9
"""Of the requests: too many for one instance, though all of them would hit there."""
_PREFIX_TOKENS: Final = 4096
"""A long instruction with examples: to compute it takes as long as sixteen questions."""
_QUESTION_TOKENS: Final = 256
_OUTPUT_TOKENS: Final = 64
_COLD_REQUESTS: Final = 20.0
"""Requests of each other prefix: enough for it to be worth a place in some cache."""
_MOVES_EVERY_S: Final = 60.0
"""A third of the window H: what was hot before still counts when the next one is."""


def hot_prefix(
    *,
    seed: int,
    num_requests: int,
    rps: float,
    num_groups: int | None = None,
    block_size: int = 64,
) -> Workload:
    """Nine requests of ten begin alike, the others with other prefixes of the same length.

    Groups are prefixes, by default the hot one and as many as give 20 requests to each other.
    """
    rng = np.random.default_rng(seed)
    count = _count(num_requests, num_groups, num_hot=1)
    at_s = poisson(rng, num_requests, rps)
    hot = np.zeros(num_requests, np.int64)
    return _workload("hot_prefix", rng, hot, count, at_s, block_size)


def moving_prefix(
    *,
    seed: int,
    num_requests: int,
    rps: float,
    num_groups: int | None = None,
    block_size: int = 64,
) -> Workload:
    """As `hot_prefix`, but each minute another prefix is the hot one.

    Groups are prefixes, by default one for each minute and as many as give 20 requests to each
    other. Of fewer, half at most are hot; then they are so again and again.
    """
    rng = np.random.default_rng(seed)
    group_count(num_requests, num_groups, 1.0)
    at_s = poisson(rng, num_requests, rps)
    minutes = (at_s // _MOVES_EVERY_S).astype(np.int64)
    num_hot = int(minutes[-1]) + 1
    count = _count(num_requests, num_groups, num_hot)
    hot = minutes % min(num_hot, max(1, count // 2))
    return _workload("moving_prefix", rng, hot, count, at_s, block_size)


def _count(num_requests: int, num_groups: int | None, num_hot: int) -> int:
    cold_requests = (1 - _HOT_SHARE) * num_requests
    wanted = num_hot + max(1, round(cold_requests / _COLD_REQUESTS))
    return group_count(
        num_requests, min(wanted, num_requests) if num_groups is None else num_groups, 1.0
    )


def _workload(
    name: str, rng: np.random.Generator, hot: Ints, count: int, at_s: Floats, block_size: int
) -> Workload:
    """`hot` is the hot group at each request; groups beyond them are the cold ones."""
    num_requests = len(hot)
    return with_questions(
        name,
        bodies(root(name, block_size), "prefix", np.full(count, _PREFIX_TOKENS)),
        _with_cold(rng, hot, count),
        np.full(num_requests, _QUESTION_TOKENS),
        np.full(num_requests, _OUTPUT_TOKENS),
        at_s,
    )


def _with_cold(rng: np.random.Generator, hot: Ints, count: int) -> Ints:
    """Some requests have a cold prefix instead, each as often as another."""
    first_cold = int(hot.max()) + 1
    if first_cold == count:
        return hot
    num_cold = round((1 - _HOT_SHARE) * len(hot))
    cold = first_cold + shuffled(rng, zipf_weights(count - first_cold, 0), num_cold)
    groups = hot.copy()
    groups[rng.permutation(len(hot))[:num_cold]] = cold
    return groups

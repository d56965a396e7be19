"""Draws that the generators share: lengths of given mean and spread, and who is popular."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from preble.errors import ConfigError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_GOLDEN = (math.sqrt(5) - 1) / 2


def lengths(rng: np.random.Generator, count: int, mean: float, std: float) -> Ints:
    """Independent lengths in tokens, lognormal, at least 1."""
    return _lognormal(rng.standard_normal(count), mean, std)


def even_lengths(rng: np.random.Generator, count: int, mean: float, std: float) -> Ints:
    """Lengths that fill their lognormal distribution evenly, also over any run of neighbours.

    For groups in order of popularity: the few that get most requests would otherwise decide the
    workload's mean. The quantiles are multiples of the golden ratio, from a random start.
    """
    edge = 0.5 / count  # a distribution of `count` values has no rarer ones
    quantiles = np.clip((rng.random() + _GOLDEN * np.arange(count)) % 1, edge, 1 - edge)
    normal = [NormalDist().inv_cdf(one) for one in quantiles.tolist()]
    return _lognormal(np.array(normal), mean, std)


def zipf_weights(count: int, exponent: float) -> Floats:
    """Popularity of ranks 1 to `count`: rank ** -exponent; even for 0."""
    return np.arange(1, count + 1, dtype=np.float64) ** -exponent


def shuffled(rng: np.random.Generator, weights: Floats | Ints, num_requests: int) -> Ints:
    """A group for each request: as often as its weight says, in random order."""
    counts = apportion(weights, num_requests)
    return rng.permutation(np.repeat(np.arange(len(counts)), counts))


def apportion(weights: Floats | Ints, total: int) -> Ints:
    """Whole numbers in proportion to the weights that add up to `total`."""
    ends: Ints = np.rint(np.cumsum(weights) / weights.sum() * total).astype(np.int64)
    starts: Ints = np.append(0, ends[:-1])
    return np.subtract(ends, starts)


def occurrence(groups: Ints) -> Ints:
    """For each request, how many of its group came before it."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    first = np.searchsorted(ordered, ordered)
    seen = np.empty_like(groups)
    seen[order] = np.arange(len(groups)) - first
    return seen


def group_count(num_requests: int, num_groups: int | None, requests_in_group: float) -> int:
    """How many groups to draw: as asked for, else by the mean size of a group.

    Raises:
        ConfigError: If there are no requests, or not one for each group.
    """
    if num_requests < 1:
        raise ConfigError(f"A workload of {num_requests} requests is empty: ask for at least 1.")
    if num_groups is None:
        return max(1, round(num_requests / requests_in_group))
    if not 1 <= num_groups <= num_requests:
        raise ConfigError(
            f"{num_requests} requests cannot have {num_groups} groups: ask for 1 to {num_requests}."
        )
    return num_groups


def _lognormal(normal: Floats, mean: float, std: float) -> Ints:
    variance = math.log1p((std / mean) ** 2)
    drawn = np.exp(math.log(mean) - variance / 2 + math.sqrt(variance) * normal)
    return np.maximum(np.round(drawn), 1).astype(np.int64)

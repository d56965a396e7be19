"""Consistent hashing with bounded load: affinity without knowing any cache.

A prompt's first tokens name a place on a ring; the next instance clockwise takes it, unless it
has more than its share of the jobs:

    ring       a1 .. b1 .. a2 .. c1 .. b2 .. c2 ..      150 places for each instance
    prompt          ^ b1 takes it; if b is full, a2; if a is full too, c1

    full       jobs >= 1.25 * (jobs of all + 1) / instances, rounded up

An instance that comes or goes takes or leaves its own places, and with them about 1/n of all
prefixes; the others stay where they are.

Source: Mirrokni, Thorup, Zadimoghaddam, Consistent Hashing with Bounded Loads, 2018; 256
tokens, 1.25 and 150 places as in sgl-router's and SMG's `prefix_hash`. Differs from those: the
first tokens end with a block, and a full instance passes on to the next on the ring (theirs,
to the least loaded of all), so that a prefix's second home is always the same one.
"""

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil
from typing import Final

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from preble.messages import InstanceId
from preble.policy.choice import Choice, Options, Rule, cheapest

PREFIX_TOKENS: Final = 256
LOAD_FACTOR: Final = 1.25
PLACES: Final = 150
"""Of each instance on the ring."""


class _Ring:
    """Places of the instances, for as long as they are the same.

    Args:
        ids: Of the instances, by row.
    """

    def __init__(self, ids: Sequence[InstanceId]) -> None:
        self.ids = list(ids)
        places = sorted(
            (xxh3_64_intdigest(f"{instance_id}#{number}".encode()), row)
            for row, instance_id in enumerate(ids)
            for number in range(PLACES)
        )
        self._places = [place for place, _ in places]
        self._rows: npt.NDArray[np.intp] = np.array([row for _, row in places], dtype=np.intp)

    def clockwise(self, key: int) -> npt.NDArray[np.intp]:
        """Rows of all places, from where a key falls."""
        start = bisect_left(self._places, xxh3_64_intdigest(key.to_bytes(8, "little")))
        return np.roll(self._rows, -start)


def consistent_hash() -> Rule:
    """Where the prompt's first 256 tokens fall on the ring. Cost: O(instances).

    A prompt shorter than a block has no key and goes where the fewest jobs are.
    """
    ring = _Ring([])

    def choose(options: Options) -> Choice:
        nonlocal ring
        jobs = options.outstanding
        key = prefix_key(options)
        if key is None:
            return Choice(cheapest(jobs, jobs), "no_key", jobs)
        if options.fleet.ids != ring.ids:
            ring = _Ring(options.fleet.ids)
        rows = ring.clockwise(key)
        row = int(rows[(jobs < _most_jobs(options))[rows].argmax()])
        return Choice(row, "home" if row == rows[0] else "next_on_ring")

    return Rule("consistent_hash", choose)


def prefix_key(options: Options) -> int | None:
    """Key of the last full block within the first 256 tokens; of the first if blocks are longer."""
    blocks = max(1, PREFIX_TOKENS // options.fleet.block_size)
    keys = options.keys[:blocks]
    return keys[-1] if keys else None


def _most_jobs(options: Options) -> int:
    """Jobs an instance may have with this one; some instance has fewer."""
    return ceil(LOAD_FACTOR * (float(options.outstanding.sum()) + 1) / len(options))

"""The makespan of an offline batch that is sorted by prefix and cut into a part for each instance.

No scheduler takes part: each instance is given its part at once, and computes it in order. So
each prefix is computed once, but for those at the cuts, and all instances end together as far as
work can be predicted. It is what a scheduler that sees jobs come should come close to; it is no
bound: a cut elsewhere, or another order, may end a little earlier.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preble.cost_model import load_cost_model
from preble.simulator.bounds import works_s
from preble.simulator.instance_model import InstanceModel
from preble.simulator.outcome import PoolSettings
from preble.simulator.run import Run
from preble.simulator.workload.request import TimedRequest, Workload, by_prefix_order

_CUTS: Final = 3
"""How often the parts are cut, each time by what was learnt of the parts before. Further cuts gain
nothing."""

_HALVINGS: Final = 40
"""Of the makespan's interval: more digits than it has."""

_Works = NDArray[np.float64]
"""A row for each request: its work if it hits what the one before it has, and if nothing."""


def sorted_and_partitioned_makespan_s(workload: Workload, settings: PoolSettings) -> float:
    """Seconds until all of a batch has ended, if the order of prefixes decides alone.

    Args:
        workload: Requests that come all at once.
        settings: Of the pool; of it, engines and speeds count.

    Raises:
        ConfigError: If requests come one by one, one does not fit, or there is no cost model.

    Cost: of each cut, some 20 µs for each step of the engines.
    """
    batch = by_prefix_order(workload)
    for request in batch.requests:
        settings.engine.check_fits(request)
    works, best_s = np.array(works_s(batch, settings)).reshape(-1, 2), inf
    for _ in range(_CUTS):
        parts = _cut(works, settings.speeds)
        took_s = [
            _took_s(batch.requests[part], batch.block_size, settings, speed)
            for part, speed in zip(parts, settings.speeds, strict=True)
        ]
        best_s = min(best_s, max(took_s))
        for part, speed, part_s in zip(parts, settings.speeds, took_s, strict=True):
            if part_s:
                works[part] *= part_s * speed / _work(works[part])
    return best_s


def _work(works: _Works) -> float:
    """Of a part: nothing is hit by its first request."""
    return float(works[0, 1] + works[1:, 0].sum())


def _cut(works: _Works, speeds: Sequence[float]) -> list[slice]:
    """Contiguous parts, one for each speed, that end as early as can be."""
    least_s, most_s = 0.0, float(works[:, 1].sum()) / min(speeds)
    for _ in range(_HALVINGS):
        middle_s = (least_s + most_s) / 2
        if _ends(works, [middle_s * speed for speed in speeds])[-1] < len(works):
            least_s = middle_s
        else:
            most_s = middle_s
    cuts = [0, *_ends(works, [most_s * speed for speed in speeds])]
    return [slice(start, end) for start, end in pairwise(cuts)]


def _ends(works: _Works, most: Sequence[float]) -> list[int]:
    """Where each part ends if it takes as many requests as its most work allows."""
    done = np.append(0.0, np.cumsum(works[:, 0]))
    ends: list[int] = []
    start = 0
    for work in most:
        if start < len(works):
            rest = float(done[start + 1]) + work - float(works[start, 1])
            start = max(start, int(np.searchsorted(done, rest, "right")) - 1)
        ends.append(start)
    return ends


def _took_s(
    requests: Sequence[TimedRequest], block_size: int, settings: PoolSettings, speed: float
) -> float:
    """Seconds until one engine has ended them all, which it was given at once."""
    engine = InstanceModel(
        settings.engine, load_cost_model(settings.engine.cost_model), block_size=block_size,
        speed=speed,
    )  # fmt: skip
    for number, request in enumerate(requests):
        engine.submit(Run(number, request), 0.0)
    while not engine.is_idle:
        engine.advance()
        engine.take_events()
    return engine.busy_s

"""Whether a pool recovers from a burst: how fast the requests in it become fewer again."""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from preble.simulator.outcome import Served
from preble.simulator.source import Burst

_Floats = NDArray[np.float64]

_SAMPLES: Final = 1000


class Drain(msgspec.Struct, frozen=True):
    """Requests in the pool, waiting anywhere or running.

    Args:
        level_before: Median over the time before the burst.
        level_at_end: As the burst ends.
        drain_s: From then until the level is back at that of before; None if it was not by the
            last arrival, after which any pool drains.
        drained_per_s: Requests fewer a second until then.
    """

    level_before: float
    level_at_end: int
    drain_s: float | None
    drained_per_s: float


def drain(served: Sequence[Served], burst: Burst) -> Drain:
    """What became of a burst.

    Args:
        served: All requests of a replay, with those of the warm-up, in order of arrival.
        burst: Of its source.

    Cost: O(n log n).
    """
    came_s = np.array([one.request.at_s for one in served])
    ended_s = np.sort([one.ended_at_s for one in served])

    def levels(at_s: _Floats) -> _Floats:
        came = np.searchsorted(came_s, at_s, side="right")
        return np.subtract(came, np.searchsorted(ended_s, at_s, side="right"), dtype=np.float64)

    before = float(np.median(levels(np.linspace(0, burst.start_s, _SAMPLES))))
    last_s = max(float(came_s[-1]), burst.end_s)
    looks_s = np.array(
        [burst.end_s, *ended_s[(ended_s > burst.end_s) & (ended_s < last_s)], last_s]
    )
    after = levels(looks_s)
    (back,) = (after[:-1] <= before).nonzero()
    until = int(back[0]) if len(back) else -1
    passed_s = float(looks_s[until]) - burst.end_s
    fewer = float(after[0] - after[until])
    return Drain(
        level_before=before,
        level_at_end=int(after[0]),
        drain_s=passed_s if len(back) else None,
        drained_per_s=fewer / passed_s if passed_s else 0.0,
    )

"""How a backlog drains after a burst, and how it drains in a pool that starts anew with it.

A pool is metastable if a burst leaves it in a state that keeps it slow: caches that no longer
hold what comes, or work piled up where it cannot be done. Then the backlog drains slower than in
a pool that knows nothing of the burst.
"""

from collections.abc import Sequence
from heapq import merge
from itertools import accumulate
from typing import Final

import msgspec
from msgspec.structs import replace

from preble.simulator.drain import Drain, drain
from preble.simulator.outcome import PoolSettings, Served
from preble.simulator.replay import replay
from preble.simulator.source import Burst, Source
from preble.simulator.workload import Workload

BURST_S: Final = 60.0
BURST_LOAD: Final = 2.0
"""Share of capacity, while it lasts."""
CALM: Final = 0.25
"""Share of the arrivals' time before it begins."""


class Recovery(msgspec.Struct, frozen=True):
    """What a burst left behind, and how a fresh start copes with the same."""

    drain: Drain
    fresh_per_s: float
    """Requests fewer a second, from the same backlog to the same level."""

    @property
    def share(self) -> float | None:
        """The rate of draining, as a share of the fresh start's; None if that drains nothing."""
        return self.drain.drained_per_s / self.fresh_per_s if self.fresh_per_s > 0 else None


def recovery(source: Source, pool: PoolSettings, *, seed: int, rps: float, load: float) -> Recovery:
    """Replay a source of this load with a burst, then the fresh start.

    Raises:
        ConfigError: If the simulator refuses the settings.
    """
    start_s = CALM * source.load(seed=seed, rps=rps).requests[-1].at_s
    burst = Burst(start_s, BURST_S, BURST_LOAD / load)
    workload = replace(source, burst=burst).load(seed=seed, rps=rps)
    after = drain(replay(workload, pool).served, burst)
    fresh = fresh_start(workload, burst.end_s, after.level_at_end)
    fresh_per_s = drained_per_s(replay(fresh, pool).served, after.level_before)
    return Recovery(after, fresh_per_s)


def fresh_start(workload: Workload, at_s: float, backlog: int) -> Workload:
    """What arrives after a moment, and before all of it the last `backlog` that came earlier."""
    earlier = [one for one in workload.requests if one.at_s <= at_s]
    later = workload.requests[len(earlier) :]
    waiting = (replace(one, at_s=0.0) for one in earlier[len(earlier) - backlog :])
    rest = (replace(one, at_s=one.at_s - at_s) for one in later)
    return replace(workload, requests=(*waiting, *rest))


def drained_per_s(served: Sequence[Served], level: float) -> float:
    """Requests fewer a second from the start until only `level` are left; 0 if there are no more.

    After the last arrival any pool drains: at the latest, it counts until then.
    """
    steps = _in_system(served)
    backlog = max((number for at_s, number in steps if at_s == 0), default=0)
    if backlog <= level:
        return 0.0
    last_s = max(one.request.at_s for one in served)
    passed_s, left = next(
        (at_s, number) for at_s, number in steps if at_s > 0 and (number <= level or at_s >= last_s)
    )
    return (backlog - left) / passed_s


def _in_system(served: Sequence[Served]) -> list[tuple[float, int]]:
    """How many requests there are from each arrival and each end on."""
    arrivals = sorted((one.request.at_s, 1) for one in served)
    ends = sorted((one.ended_at_s, -1) for one in served)
    times_s, changes = zip(*merge(arrivals, ends), strict=True) if served else ((), ())
    return list(zip(times_s, accumulate(changes), strict=True))

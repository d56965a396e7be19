"""Which rate a pool sustains: what a *load* is a share of.

Where requests come faster than they are served, each waits longer than the one before: in every
second latency grows by (rate / capacity - 1) seconds. So a rate is sustained if latency grows by
at most 3 % of the time that passes, from the first to the last third of the measured requests.
The policy is the *yardstick*, whatever policies are compared: one that is blind to caches, with
eager binding and a pool that does not change, so a load means the same for all.
"""

from statistics import fmean
from typing import Final

from msgspec.structs import replace

from preble.config import PolicyName
from preble.simulator.outcome import PoolSettings, Replayed
from preble.simulator.replay import replay
from preble.simulator.source import DEFAULT_RPS, Source

MOST_GROWTH: Final = 0.03
PRECISION: Final = 0.02
"""The bisection stops when the rates differ by this share."""


def sustained_rps(
    source: Source, settings: PoolSettings, *, seed: int, warm_up: float,
    yardstick: PolicyName = "least_outstanding",
) -> float:  # fmt: skip
    """The greatest rate that is sustained, to `PRECISION`; the same in every process.

    Doubles or halves from `DEFAULT_RPS` until one of two rates is sustained, then bisects.

    Args:
        source: Of the requests; its burst does not count.
        settings: Of the pool; policy, binding and changes do not count.
        seed: Of the requests.
        warm_up: Share of the requests that are not measured.
        yardstick: The policy.

    Raises:
        ConfigError: If source or settings are wrong.

    Cost: about ten replays.
    """
    measured = replace(settings, policy=yardstick, binding="eager", changes=())
    steady = replace(source, burst=None)

    def is_sustained(rps: float) -> bool:
        workload = steady.load(seed=seed, rps=rps)
        skip = int(warm_up * len(workload.requests))
        return _is_sustained(replay(workload, measured), skip)

    low = high = DEFAULT_RPS
    if is_sustained(DEFAULT_RPS):
        while is_sustained(high := 2 * low):
            low = high
    else:
        while not is_sustained(low := high / 2):
            high = low
    while high > low * (1 + PRECISION):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if is_sustained(middle) else (low, middle)
    return low


def _is_sustained(replayed: Replayed, skip: int) -> bool:
    measured = replayed.served[skip:]
    third = max(1, len(measured) // 3)
    first, last = measured[:third], measured[-third:]
    passed_s = fmean(one.request.at_s for one in last) - fmean(one.request.at_s for one in first)
    grown_s = fmean(one.latency_s for one in last) - fmean(one.latency_s for one in first)
    return grown_s <= MOST_GROWTH * passed_s

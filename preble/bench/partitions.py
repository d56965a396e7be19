"""The reference for an offline batch: sorted by prefix, and cut into a part for each instance.

Each part runs on its engine in order, with nothing between: no dispatcher, no network, no CPU
of this machine. So the engines are those of the simulator, on virtual time, which do what the
emulated engines do in real time.

    sorted   [a a a a|b b b|b b c c c|d d]      cuts fall where the parts take equally long
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

import msgspec

from preble.config import Settings
from preble.simulator.bounds import works_s
from preble.simulator.outcome import PoolSettings, Served
from preble.simulator.replay import replay
from preble.simulator.run import EngineSettings
from preble.simulator.workload import TimedRequest, Workload

_ROUNDS: Final = 5
"""Of cutting, running, and correcting what each part was predicted to take."""


class Reference(msgspec.Struct, frozen=True):
    """What the best of the cuts came to."""

    makespan_s: float
    shortest_part_s: float
    """Of all parts, the one that ended first: how even the cut is."""
    hit_rate: float


def run_partitioned(workload: Workload, settings: Settings) -> Reference:
    """Run requests that come at once, in their order, cut into as many parts as `workers`.

    Raises:
        ConfigError: If a request can never fit an instance.

    Cost: some 40 µs for each request and output token, times the rounds.
    """
    pool = _one_instance(settings)
    weights_s = [with_hits_s for with_hits_s, _ in works_s(workload, pool)]
    best: Reference | None = None
    for _ in range(_ROUNDS):
        parts = cut(workload.requests, weights_s, settings.workers)
        served = [replay(_part(workload, part), pool).served for part in parts]
        found = _reference(served)
        if best is None or found.makespan_s < best.makespan_s:
            best = found
        weights_s = _corrected(served, weights_s)
    assert best  # noqa: S101  # there is a round
    return best


def cut(
    requests: Sequence[TimedRequest], weights_s: Sequence[float], num_parts: int
) -> list[Sequence[TimedRequest]]:
    """Contiguous parts of about equal weight, each with a request if there are enough."""
    ends = list(accumulate(weights_s))
    middles = [end - weight / 2 for end, weight in zip(ends, weights_s, strict=True)]
    cuts = [0]
    for number in range(1, num_parts):
        at = bisect_left(middles, ends[-1] * number / num_parts)
        still_needed = num_parts - number
        cuts.append(max(cuts[-1] + 1, min(at, len(requests) - still_needed)))
    cuts.append(len(requests))
    return [requests[start:end] for start, end in pairwise(cuts)]


def _one_instance(settings: Settings) -> PoolSettings:
    engine = EngineSettings(
        cost_model=settings.cost_model, kv_capacity_tokens=settings.kv_capacity_tokens,
        chunk_tokens=settings.chunk_tokens, slots=settings.slots,
    )  # fmt: skip
    return PoolSettings(policy="round_robin", engine=engine, speeds=(settings.emulated_speed,))


def _part(workload: Workload, requests: Sequence[TimedRequest]) -> Workload:
    return Workload(workload.name, workload.block_size, tuple(requests))


def _reference(parts: Sequence[Sequence[Served]]) -> Reference:
    ends_s = [max(each.ended_at_s for each in served) for served in parts]
    hit_tokens = sum(each.hit_tokens for served in parts for each in served)
    prompt_tokens = sum(each.request.prompt_tokens for served in parts for each in served)
    return Reference(
        makespan_s=round(max(ends_s), 2), shortest_part_s=round(min(ends_s), 2),
        hit_rate=round(hit_tokens / prompt_tokens, 4),
    )  # fmt: skip


def _corrected(parts: Sequence[Sequence[Served]], weights_s: Sequence[float]) -> list[float]:
    """Weights that add up, in each part, to the time that it took."""
    corrected: list[float] = []
    for served in parts:
        weights = weights_s[len(corrected) : len(corrected) + len(served)]
        factor = max(each.ended_at_s for each in served) / sum(weights)
        corrected += [weight * factor for weight in weights]
    return corrected

"""The figures of a replay, beside the bounds that no placement can beat."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from preble.quantiles import quantile
from preble.simulator.bounds import Bounds
from preble.simulator.outcome import InstanceTotals, Replayed, Served, TimelineSample


class Distribution(msgspec.Struct, frozen=True):
    """Of a time over requests, in seconds."""

    mean: float
    p50: float
    p99: float


class HitRates(msgspec.Struct, frozen=True):
    """Hit tokens / prompt tokens of all measured requests together."""

    available: float
    """On the best instance, as the scheduler knew when it decided."""
    predicted: float
    """On the chosen instance, by the scheduler."""
    delivered: float
    """By the engines."""
    bound: float
    """Of an infinite cache, see `bounds`."""


class Figures(msgspec.Struct, frozen=True):
    """One policy at one load with one seed.

    Args:
        load: Share of what `least_outstanding` sustains; None if a rate was asked for.
        rps: Arrivals a second.
        num_requests: Those measured: after the warm-up.
        latency_s: E2E, from arrival to the last token.
        ttft_s: To the first token.
        tpot_s: Per token after it, of requests with more than one.
        wait_s: To the begin of its prefill.
        mean_latency_bound_s: No schedule has a lower mean; see `bounds`.
        prefill_imbalance: Most / mean prefill tokens computed on an instance.
        busy_imbalance: Most / mean busy seconds of an instance, over the whole replay.
        requests_per_s: Measured requests / time from the first's arrival to the last's end.
        output_tokens_per_s: As above.
        recomputed_tokens: Prefill that retractions made vain or necessary.
        retractions: Over the whole replay, as are the next two.
        evicted_blocks: Evicted on all instances.
        instances: Totals of each.
        timeline: Empty unless asked for.
    """

    policy: str
    seed: int
    load: float | None
    rps: float
    num_requests: int
    latency_s: Distribution
    ttft_s: Distribution
    tpot_s: Distribution
    wait_s: Distribution
    mean_latency_bound_s: float
    hit_rates: HitRates
    prefill_imbalance: float
    busy_imbalance: float
    requests_per_s: float
    output_tokens_per_s: float
    recomputed_tokens: int
    retractions: int
    evicted_blocks: int
    instances: tuple[InstanceTotals, ...]
    timeline: tuple[TimelineSample, ...] = ()


def figures(
    replayed: Replayed, limits: Bounds, *, policy: str, seed: int, load: float | None, rps: float,
    skip: int,
) -> Figures:  # fmt: skip
    """Sum up a replay, but for the first `skip` requests: the warm-up. At least one is left."""
    served, instances = replayed.served[skip:], replayed.instances
    span_s = max(one.ended_at_s for one in served) - served[0].request.at_s
    return Figures(
        policy=policy, seed=seed, load=load, rps=rps, num_requests=len(served),
        latency_s=_distribution(one.latency_s for one in served),
        ttft_s=_distribution(one.ttft_s for one in served),
        tpot_s=_distribution(one.tpot_s for one in served if one.request.output_tokens > 1),
        wait_s=_distribution(one.wait_s for one in served),
        mean_latency_bound_s=limits.mean_latency_s,
        hit_rates=_hit_rates(served, limits),
        prefill_imbalance=_imbalance(_prefilled_tokens(served, len(instances))),
        busy_imbalance=_imbalance([totals.busy_s for totals in instances]),
        requests_per_s=len(served) / span_s,
        output_tokens_per_s=sum(one.request.output_tokens for one in served) / span_s,
        recomputed_tokens=sum(one.recomputed_tokens for one in served),
        retractions=sum(totals.retractions for totals in instances),
        evicted_blocks=sum(totals.evicted_blocks for totals in instances),
        instances=instances,
        timeline=replayed.timeline,
    )  # fmt: skip


def _distribution(seconds: Iterable[float]) -> Distribution:
    ordered = sorted(seconds)
    mean = sum(ordered) / len(ordered) if ordered else 0.0
    return Distribution(mean, quantile(ordered, 0.5), quantile(ordered, 0.99))


def _hit_rates(served: Sequence[Served], limits: Bounds) -> HitRates:
    prompt_tokens = sum(one.request.prompt_tokens for one in served)

    def rate(hit_tokens: Callable[[Served], int]) -> float:
        return sum(map(hit_tokens, served)) / prompt_tokens

    return HitRates(
        available=rate(lambda one: one.available_hit_tokens),
        predicted=rate(lambda one: one.predicted_hit_tokens),
        delivered=rate(lambda one: one.hit_tokens),
        bound=limits.hit_rate,
    )


def _prefilled_tokens(served: Sequence[Served], num_instances: int) -> list[float]:
    tokens = [0.0] * num_instances
    for one in served:
        computed = one.request.prompt_tokens - one.hit_tokens + one.recomputed_tokens
        tokens[one.instance] += computed
    return tokens


def _imbalance(loads: Sequence[float]) -> float:
    """Most / mean; 1 where nothing was done."""
    total = sum(loads)
    return max(loads) * len(loads) / total if total else 1.0

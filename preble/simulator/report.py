"""The figures of a replay, beside the bounds that no placement can beat."""

from collections.abc import Callable, Sequence

import msgspec

from preble.config import Binding
from preble.simulator.bounds import Bounds
from preble.simulator.distribution import Distribution, distribution
from preble.simulator.drain import Drain, drain
from preble.simulator.outcome import InstanceTotals, Replayed, Served, TimelineSample
from preble.simulator.source import Burst
from preble.simulator.tenants import TenantFigures, tenant_figures


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
    """One policy with one binding at one load with one seed.

    Args:
        binding: When a request was bound to its instance.
        load: Share of what `least_outstanding` sustains; None if a rate was asked for.
        rps: Arrivals a second.
        num_requests: Those measured: after the warm-up.
        latency_s: E2E, from arrival to the last token.
        ttft_s: To the first token.
        tpot_s: Per token after it, of requests with more than one.
        wait_s: To the begin of its prefill.
        mean_latency_bound_s: No schedule has a lower mean; see `bounds`.
        prefill_imbalance: Most / mean prefill tokens computed on an instance.
        busy_imbalance: Most / mean busy seconds of an instance.
        requests_per_s: Measured requests / time from the first's arrival to the last's end.
        output_tokens_per_s: As above.
        recomputed_tokens: Prefill that retractions made vain or necessary.
        retractions: Over the whole replay, as are the next two.
        evicted_blocks: Evicted on all instances.
        makespan_s: From the first arrival to the last end, with the warm-up.
        makespan_reference_s: Of the same batch sorted and partitioned (`reference`); None if
            requests did not come all at once.
        tenants: By name; empty unless there are several.
        drain: After the source's burst; None if there was none.
        lost_tokens: Prefill of requests that died with an engine, over the whole replay.
        instances: Totals of each.
        timeline: Empty unless asked for.
    """

    policy: str
    binding: Binding
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
    makespan_s: float
    makespan_reference_s: float | None
    tenants: dict[str, TenantFigures]
    drain: Drain | None
    lost_tokens: int
    instances: tuple[InstanceTotals, ...]
    timeline: tuple[TimelineSample, ...] = ()

    @property
    def name(self) -> str:
        """The policy, and the binding if it is late."""
        return f"{self.policy}, late" if self.binding == "late" else self.policy


def figures(
    replayed: Replayed, limits: Bounds, *, policy: str, binding: Binding, seed: int,
    load: float | None, rps: float, skip: int, burst: Burst | None = None,
    makespan_reference_s: float | None = None,
) -> Figures:  # fmt: skip
    """Sum up a replay, but for the first `skip` requests: the warm-up. At least one is left."""
    served, instances = replayed.served[skip:], replayed.instances
    span_s = _makespan_s(served)
    return Figures(
        policy=policy, binding=binding, seed=seed, load=load, rps=rps, num_requests=len(served),
        latency_s=distribution(one.latency_s for one in served),
        ttft_s=distribution(one.ttft_s for one in served),
        tpot_s=distribution(one.tpot_s for one in served if one.request.output_tokens > 1),
        wait_s=distribution(one.wait_s for one in served),
        mean_latency_bound_s=limits.mean_latency_s,
        hit_rates=_hit_rates(served, limits),
        prefill_imbalance=_imbalance(_prefilled_tokens(served, len(instances))),
        busy_imbalance=_imbalance([totals.measured_busy_s for totals in instances]),
        requests_per_s=len(served) / span_s,
        output_tokens_per_s=sum(one.request.output_tokens for one in served) / span_s,
        recomputed_tokens=sum(one.recomputed_tokens for one in served),
        retractions=sum(totals.retractions for totals in instances),
        evicted_blocks=sum(totals.evicted_blocks for totals in instances),
        makespan_s=_makespan_s(replayed.served),
        makespan_reference_s=makespan_reference_s,
        tenants=tenant_figures(served),
        drain=drain(replayed.served, burst) if burst else None,
        lost_tokens=sum(totals.lost_tokens for totals in instances),
        instances=instances,
        timeline=replayed.timeline,
    )  # fmt: skip


def _makespan_s(served: Sequence[Served]) -> float:
    """From the first arrival to the last end; 0 without requests."""
    first_s = min((one.request.at_s for one in served), default=0.0)
    return max((one.ended_at_s for one in served), default=0.0) - first_s


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
        tokens[one.instance] += one.prefilled_tokens
    return tokens


def _imbalance(loads: Sequence[float]) -> float:
    """Most / mean; 1 where nothing was done."""
    total = sum(loads)
    return max(loads) * len(loads) / total if total else 1.0

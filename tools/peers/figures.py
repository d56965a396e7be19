"""What became of requests, as figures that a router and its copy can be compared by."""

from collections import Counter
from collections.abc import Sequence
from itertools import permutations

import msgspec

from preble.quantiles import quantile


class Outcome(msgspec.Struct, frozen=True):
    """One request's end."""

    instance: int
    prompt_tokens: int
    hit_tokens: int
    """As the engine had them: delivered."""
    latency_s: float
    """From its arrival to its last token."""


class Figures(msgspec.Struct, frozen=True):
    """Of all requests of one run."""

    hit_rate: float
    mean_latency_s: float
    p99_latency_s: float
    requests: tuple[int, ...]
    """On each instance, most first: which one is which means nothing."""
    imbalance: float
    """Requests on the instance that got most / mean."""

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], num_instances: int) -> "Figures":
        """Of at least one outcome."""
        latencies_s = sorted(each.latency_s for each in outcomes)
        on_instance = Counter(each.instance for each in outcomes)
        requests = sorted((on_instance[number] for number in range(num_instances)), reverse=True)
        hit_tokens = sum(each.hit_tokens for each in outcomes)
        return cls(
            hit_rate=round(hit_tokens / sum(each.prompt_tokens for each in outcomes), 4),
            mean_latency_s=round(sum(latencies_s) / len(latencies_s), 3),
            p99_latency_s=round(quantile(latencies_s, 0.99), 3),
            requests=tuple(requests),
            imbalance=round(requests[0] * num_instances / len(outcomes), 3),
        )


def same_decisions(one: Sequence[Outcome], other: Sequence[Outcome], num_instances: int) -> float:
    """Share of the requests on the same instance, by the renaming of instances that fits best.

    Cost: O(requests + num_instances!).
    """
    pairs = Counter((a.instance, b.instance) for a, b in zip(one, other, strict=True))
    renamings = permutations(range(num_instances))
    best = max(sum(pairs[pair] for pair in enumerate(renaming)) for renaming in renamings)
    return round(best / len(one), 3)

"""What no placement can beat: the most that can be hit, the least mean latency.

**Hit tokens.** In an infinite cache, shared by all instances, every block must still be computed
once by someone. So of the blocks that a set of requests asks for, those new to it are missed at
least once each; and an engine computes the last token of a prompt in any case.

**Mean latency.** The greater of two bounds:

- *unloaded*: each request alone on the fastest instance, with its hits from the infinite cache.
  Company never makes a step shorter than the `floor` below.
- *pooled*: all instances as one processor that serves requests at the sum of their speeds, cut as
  finely as it likes. A request needs at least its share of every step it takes part in:

      work = a · (missed + output tokens) + b · context tokens read

  with a, b such that a · x + b · C never exceeds what a step of x new tokens over C of context
  takes. Whatever the instances do, the processor could do too, and shortest remaining work first
  gives the least mean latency on it.

Both take a request's hits in the order of arrival; the argument is in ADR 0012.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush, heapreplace

import msgspec

from preble.cost_model import Coefficients, load_coefficients, load_cost_model
from preble.messages import unpack_keys
from preble.simulator.outcome import PoolSettings
from preble.simulator.workload.request import TimedRequest, Workload


class Bounds(msgspec.Struct, frozen=True):
    """Of the requests after the warm-up."""

    hit_rate: float
    unloaded_latency_s: float
    pooled_latency_s: float

    @property
    def mean_latency_s(self) -> float:
        """No schedule has a lower mean."""
        return max(self.unloaded_latency_s, self.pooled_latency_s)


def bounds(workload: Workload, settings: PoolSettings, *, skip: int) -> Bounds:
    """Bounds on what the requests after the first `skip`, the warm-up, can get.

    Cost: O(blocks) and O(n log n).
    """
    measured = workload.requests[skip:]
    if not measured:
        return Bounds(0.0, 0.0, 0.0)
    prompt_tokens = sum(request.prompt_tokens for request in measured)
    most_hits = _most_hit_blocks(workload, skip) * workload.block_size
    misses = _missed_tokens(workload)[skip:]
    least = _LeastSeconds(settings)
    return Bounds(
        hit_rate=most_hits / prompt_tokens,
        unloaded_latency_s=sum(map(least.alone_s, measured, misses)) / len(measured),
        pooled_latency_s=_least_mean_latency_s(
            [request.at_s for request in measured], list(map(least.pooled_s, measured, misses))
        ),
    )


def works_s(workload: Workload, settings: PoolSettings) -> list[tuple[float, float]]:
    """The least work of each request, in seconds of all instances together.

    Returns:
        For each, with its hits from the infinite cache, and without any.

    Raises:
        ConfigError: If there is no such cost model.

    Cost: O(blocks).
    """
    pooled_s = _LeastSeconds(settings).pooled_s
    return [
        (pooled_s(request, missed), pooled_s(request, request.prompt_tokens))
        for request, missed in zip(workload.requests, _missed_tokens(workload), strict=True)
    ]


# Hits.


def _hittable_keys(request: TimedRequest, block_size: int) -> list[int]:
    """Without the block of the last token, if it is full."""
    return unpack_keys(request.block_keys)[: (request.prompt_tokens - 1) // block_size]


def _most_hit_blocks(workload: Workload, skip: int) -> int:
    """Of the requests after `skip`, in whatever order they run."""
    before, measured = workload.requests[:skip], workload.requests[skip:]
    known = {key for request in before for key in unpack_keys(request.block_keys)}
    asked: Counter[int] = Counter()
    hittable: Counter[int] = Counter()
    for request in measured:
        asked.update(unpack_keys(request.block_keys))
        hittable.update(_hittable_keys(request, workload.block_size))
    missed_once = sum(
        key not in known and asked[key] == hits for key, hits in hittable.items()
    )  # where a request asks for a block that it cannot hit, that one may compute it
    return hittable.total() - missed_once


def _missed_tokens(workload: Workload) -> list[int]:
    """Of each request, were every block kept that an earlier one asked for."""
    known: set[int] = set()
    missed: list[int] = []
    for request in workload.requests:
        keys = _hittable_keys(request, workload.block_size)
        hits = next((index for index, key in enumerate(keys) if key not in known), len(keys))
        missed.append(request.prompt_tokens - hits * workload.block_size)
        known.update(unpack_keys(request.block_keys))
    return missed


# Seconds.


class _LeastSeconds:
    """What a request takes at least, on these instances."""

    def __init__(self, settings: PoolSettings) -> None:
        engine = settings.engine
        coefficients = load_coefficients(engine.cost_model)
        most_tokens = engine.chunk_tokens + engine.slots
        self._cost_model = load_cost_model(engine.cost_model)
        self._company = list(_powers_of_two(engine.slots))
        self._new_token_s = _least_per_new_token_s(coefficients, most_tokens)
        self._context_token_s = _least_per_context_token_s(coefficients)
        self._fastest = max(settings.speeds)
        self._all_speeds = sum(settings.speeds)

    def alone_s(self, request: TimedRequest, missed_tokens: int) -> float:
        """Latency on the fastest instance: a prefill, then a step for each further token."""
        prefill_s = max(missed_tokens * self._new_token_s, self._step_s(request.prompt_tokens))
        decode_s = (request.output_tokens - 1) * self._step_s(request.prompt_tokens + 1)
        return (prefill_s + decode_s) / self._fastest

    def pooled_s(self, request: TimedRequest, missed_tokens: int) -> float:
        """Its part of the work of all instances together, in their seconds."""
        steps = request.output_tokens - 1
        new_tokens = missed_tokens + steps
        context_tokens = request.prompt_tokens * (steps + 1) + steps * (steps + 1) // 2
        work_s = new_tokens * self._new_token_s + context_tokens * self._context_token_s
        return work_s / self._all_speeds

    def _step_s(self, context_tokens: int) -> float:
        """The floor: a step of one token over such a context, in the cheapest company."""
        return min(self._cost_model.totals_s(1, context_tokens, n) for n in self._company)


def _powers_of_two(most: int) -> Iterator[int]:
    """Up to `most`, and `most` itself."""
    power = 1
    while power < most:
        yield power
        power *= 2
    yield most


def _least_per_new_token_s(coefficients: Coefficients, most_tokens: int) -> float:
    """a: the least that linear layers take for a token, in steps of up to so many."""
    pieces = coefficients.linear
    ends = [piece.min_tokens for piece in pieces[1:]] + [most_tokens + 1]
    least_ms = min(
        piece.at_ms(tokens) / tokens
        for piece, end in zip(pieces, ends, strict=True)
        for tokens in (max(1, piece.min_tokens), min(end - 1, most_tokens))
        if piece.min_tokens <= most_tokens
    )
    return least_ms / coefficients.efficiency / 1000


def _least_per_context_token_s(coefficients: Coefficients) -> float:
    """b: of attention, halved if the model ever halves it."""
    attention = coefficients.attention
    is_halved = attention.halved_below_unique_tokens > 0
    slope_ms = attention.per_context_token_ms / (2 if is_halved else 1)
    return slope_ms / coefficients.efficiency / 1000


def _least_mean_latency_s(arrivals_s: Sequence[float], works_s: Sequence[float]) -> float:
    """Shortest remaining work first on one processor; arrivals ascend."""
    remaining_s: list[float] = []
    ends_s: list[float] = []
    for at_s, work_s, next_s in zip(arrivals_s, works_s, [*arrivals_s[1:], math.inf], strict=True):
        now_s = at_s
        heappush(remaining_s, work_s)
        while remaining_s and now_s + remaining_s[0] <= next_s:
            now_s += heappop(remaining_s)
            ends_s.append(now_s)
        if remaining_s:
            heapreplace(remaining_s, remaining_s[0] - (next_s - now_s))
    return (sum(ends_s) - sum(arrivals_s)) / len(arrivals_s)

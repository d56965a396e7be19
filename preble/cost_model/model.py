"""Seconds of GPU time for prefill, decode and mixed steps, from coefficients.

A step that computes x new tokens of n requests over C tokens of context in all takes

    (Linear(x) + Attention(C, n) + sum of the long requests' extra terms) / efficiency

with Linear and Attention made of straight lines. Source: the form of the Preble paper's
released model equations; differs where they contradict themselves (ADR 0003, ADR 0011).
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from preble.cost_model.coefficients import Attention, Coefficients
from preble.cost_model.piecewise import Line, PiecewiseLinear

_REMEMBERED: Final = 4_096
"""Predictions kept by a model: a few kilobytes, the window's prompts many times."""


class StepRequest(msgspec.Struct, frozen=True):
    """One request's share of a step: new tokens to compute, over how much context in all."""

    new_tokens: int
    context_tokens: int


class CostModel:
    """Predicts durations. Immutable; all results are >= 0.

    More tokens never cost less, for a given number of requests. Contexts count as not shared:
    the conservative end of the formula.
    """

    def __init__(self, coefficients: Coefficients) -> None:
        self.name = coefficients.name
        self._long_request = coefficients.long_request
        self._min_product = coefficients.long_request.min_product
        self._s_per_ms = 1 / coefficients.efficiency / 1000
        self._linear_s = PiecewiseLinear(
            [
                self._line_s(Line(piece.min_tokens, piece.constant_ms, piece.per_token_ms))
                for piece in coefficients.linear
            ]
        )
        self._attention = coefficients.attention
        self._attention_s = lru_cache(maxsize=_REMEMBERED)(self._attention_of)
        # A decision asks for the same prompt once for each instance.
        self._prefill_s = lru_cache(maxsize=_REMEMBERED)(self._predict_prefill_s)

    def step_s(self, requests: Sequence[StepRequest]) -> float:
        """One engine step that computes all these requests' new tokens together."""
        return self.totals_s(
            sum(request.new_tokens for request in requests),
            sum(request.context_tokens for request in requests),
            len(requests),
            sum(self.long_request_ms(each.new_tokens, each.context_tokens) for each in requests),
        )

    def totals_s(
        self, new_tokens: int, context_tokens: int, num_requests: int, long_ms: float = 0.0
    ) -> float:
        """One engine step, from what its requests come to; 0 for none.

        Args:
            new_tokens: Tokens to compute.
            context_tokens: Tokens to attend to, the new ones among them.
            num_requests: How many share the step.
            long_ms: The sum of their `long_request_ms`.
        """
        if num_requests <= 0:
            return 0.0
        return (
            self._linear_s.at(new_tokens)
            + self._attention_s(num_requests).at(context_tokens)
            + long_ms * self._s_per_ms
        )

    def long_request_ms(self, new_tokens: int, context_tokens: int) -> float:
        """What one request of a step adds for being long, before efficiency; mostly 0."""
        if new_tokens <= 1 or new_tokens * context_tokens <= self._min_product:
            return 0.0
        return self._long_request.at_ms(new_tokens, context_tokens)

    def prefill_s(self, miss_tokens: int, prompt_tokens: int) -> float:
        """Prefill of `miss_tokens` of a prompt alone; 0 where nothing is missing."""
        return self._prefill_s(miss_tokens, prompt_tokens)

    def decode_s(self, output_tokens: float, context_tokens: int) -> float:
        """Decoding `output_tokens` one by one, alone, over a context of that size."""
        return output_tokens * self.totals_s(1, context_tokens, 1)

    def decode_line(self, num_requests: int, context_tokens: int) -> Line:
        """Seconds of a decode step of so many requests, as a line in their context tokens.

        It is that around `context_tokens`. Cost: O(1).
        """
        line = self._attention_s(num_requests).line_at(context_tokens)
        return Line(line.start, self._linear_s.at(num_requests) + line.constant, line.slope)

    def decode_run_s(self, num_requests: int, context_tokens: int, num_steps: int) -> float:
        """Successive steps in which the same requests decode, and nothing else happens.

        Args:
            num_requests: How many decode; each step adds a token to each.
            context_tokens: Sum of their contexts in the first step, the new tokens included.
            num_steps: How many steps.

        Returns:
            What `num_steps` calls of `totals_s` add up to.

        Cost: O(1); the attention has five lines at most.
        """
        if num_requests <= 0 or num_steps <= 0:
            return 0.0
        attention_s = self._attention_s(num_requests)
        return num_steps * self._linear_s.at(num_requests) + attention_s.sum_of(
            context_tokens, num_requests, num_steps
        )

    def decode_steps_within(self, num_requests: int, context_tokens: int, seconds: float) -> int:
        """How many whole steps of such a run end within `seconds`, a finite number.

        Returns:
            The largest number of steps whose `decode_run_s` does not exceed `seconds`; 0 if
            there are no requests.

        Cost: O(log steps).
        """
        step_s = self.totals_s(num_requests, context_tokens, num_requests)
        if num_requests <= 0 or seconds < step_s:
            return 0
        # No step is quicker than the first, nor slower than the last. The ones are for rounding.
        most_steps = int(seconds / step_s) + 1
        last_tokens = context_tokens + num_requests * most_steps
        last_s = self.totals_s(num_requests, last_tokens, num_requests)
        least_steps = max(0, int(seconds / last_s) - 1)

        def exceeds(num_steps: int) -> bool:
            return self.decode_run_s(num_requests, context_tokens, num_steps) > seconds

        undecided = range(least_steps + 1, most_steps + 1)
        return least_steps + bisect_left(undecided, x=True, key=exceeds)

    def _predict_prefill_s(self, miss_tokens: int, prompt_tokens: int) -> float:
        if miss_tokens <= 0:
            return 0.0
        long_ms = self.long_request_ms(miss_tokens, prompt_tokens)
        return self.totals_s(miss_tokens, prompt_tokens, 1, long_ms)

    def _attention_of(self, num_requests: int) -> PiecewiseLinear:
        lines_ms = _attention_lines_ms(self._attention, num_requests)
        return PiecewiseLinear([self._line_s(line) for line in lines_ms])

    def _line_s(self, line: Line) -> Line:
        """A line of milliseconds, in seconds."""
        scale = self._s_per_ms
        return Line(line.start, line.constant * scale, line.slope * scale)


def _attention_lines_ms(attention: Attention, num_requests: int) -> Iterator[Line]:
    """Attention of a step of so many requests, in its context tokens.

    Halved attention would undercut that of short contexts at first, so that bounds it below.
    """
    halved_to = min(
        num_requests * attention.halved_below_unique_tokens,
        attention.halved_below_product // num_requests,
    )
    constant, slope = attention.constant_ms, attention.per_context_token_ms
    start = attention.short_context_tokens + 1
    yield Line(0, attention.short_ms, 0.0)
    if start <= halved_to:
        yield from _above(attention.short_ms, Line(start, constant / 2, slope / 2), halved_to)
        start = halved_to + 1
    yield from _above(attention.short_ms, Line(start, constant, slope), None)


def _above(floor: float, line: Line, last: int | None) -> Iterator[Line]:
    """The part of a line above a floor on which it is preceded by the floor itself."""
    start = line.start
    if line.constant + line.slope * start < floor:
        yield Line(start, floor, 0.0)
        if not line.slope:
            return
        start = int((floor - line.constant) / line.slope) + 1
    if last is None or start <= last:
        yield Line(start, line.constant, line.slope)

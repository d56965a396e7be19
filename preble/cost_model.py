"""Seconds of GPU time for prefill, decode and mixed steps, from fitted coefficients.

Formulas: a step of `x` new tokens over `C` tokens of context takes

    (Linear(x) + Attention(C, U, n) + sum of the long requests' quadratic terms) / efficiency

with Linear piecewise linear in x. Source: the Preble paper's released model equations
(A6000, Mistral-7B); coefficients with their provenance lie in `data/cost_models/*.json`.
Differs: the published quadratic piece for 192 <= x < 384 turns negative near 384; a
straight line between its ends replaces it (ADR 0003).
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Final

import msgspec

from preble.errors import ConfigError

_REMEMBERED: Final = 4_096
"""Prefill predictions kept by a model: a few kilobytes, the window's prompts many times."""


class Piece(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`constant_ms + per_token_ms * tokens`, from `min_tokens` up to the next piece."""

    min_tokens: int
    constant_ms: float
    per_token_ms: float


class Attention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Attention of a whole step, in the tokens of context it reads."""

    short_context_tokens: int
    short_ms: float
    constant_ms: float
    per_context_token_ms: float
    halved_below_unique_tokens: int
    halved_below_product: int


class LongRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Extra milliseconds of one request with new * context tokens above `min_product`."""

    min_product: int
    per_new_token_ms: float
    per_context_token_ms: float
    per_product_ms: float


class Coefficients(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fitted cost model, as its file has it."""

    name: str
    source: str
    linear: tuple[Piece, ...]
    attention: Attention
    long_request: LongRequest
    efficiency: float


class StepRequest(msgspec.Struct, frozen=True):
    """One request's share of a step: new tokens to compute, over how much context in all."""

    new_tokens: int
    context_tokens: int


class CostModel:
    """Predicts durations. Immutable; all results are seconds, >= 0."""

    def __init__(self, coefficients: Coefficients) -> None:
        self.name = coefficients.name
        self._of = coefficients
        self._starts = [piece.min_tokens for piece in coefficients.linear]
        # A decision asks for the same prompt once for each instance.
        self._prefill_s = lru_cache(maxsize=_REMEMBERED)(self._predict_prefill_s)

    def step_s(self, requests: Sequence[StepRequest]) -> float:
        """One engine step that computes all these requests' new tokens together.

        Contexts count as not shared (U = C): the conservative end of the formula.
        """
        if not requests:
            return 0.0
        new_tokens = sum(request.new_tokens for request in requests)
        context_tokens = sum(request.context_tokens for request in requests)
        total_ms = self._linear_ms(new_tokens) + self._attention_ms(context_tokens, len(requests))
        total_ms += sum(self._long_request_ms(request) for request in requests)
        return total_ms / self._of.efficiency / 1000

    def prefill_s(self, miss_tokens: int, prompt_tokens: int) -> float:
        """Prefill of `miss_tokens` of a prompt alone; 0 where nothing is missing."""
        return self._prefill_s(miss_tokens, prompt_tokens)

    def decode_s(self, output_tokens: float, context_tokens: int) -> float:
        """Decoding `output_tokens` one by one, alone, over a context of that size."""
        return output_tokens * self.step_s((StepRequest(1, context_tokens),))

    def _predict_prefill_s(self, miss_tokens: int, prompt_tokens: int) -> float:
        if miss_tokens <= 0:
            return 0.0
        return self.step_s((StepRequest(miss_tokens, prompt_tokens),))

    def _linear_ms(self, tokens: int) -> float:
        piece = self._of.linear[bisect_right(self._starts, tokens) - 1]
        return piece.constant_ms + piece.per_token_ms * tokens

    def _attention_ms(self, context_tokens: int, num_requests: int) -> float:
        attention = self._of.attention
        if context_tokens <= attention.short_context_tokens:
            return attention.short_ms
        total_ms = attention.constant_ms + attention.per_context_token_ms * context_tokens
        is_small = (
            context_tokens / num_requests <= attention.halved_below_unique_tokens
            and num_requests * context_tokens <= attention.halved_below_product
        )
        return total_ms / 2 if is_small else total_ms

    def _long_request_ms(self, request: StepRequest) -> float:
        long_request = self._of.long_request
        product = request.new_tokens * request.context_tokens
        if product <= long_request.min_product:
            return 0.0
        return (
            long_request.per_new_token_ms * request.new_tokens
            + long_request.per_context_token_ms * request.context_tokens
            + long_request.per_product_ms * product
        )


@cache
def load_cost_model(name: str) -> CostModel:
    """A cost model by the name of its file.

    Raises:
        ConfigError: If there is no such file, naming those there are.
    """
    folder = resources.files("preble") / "data" / "cost_models"
    try:
        text = (folder / f"{name}.json").read_bytes()
    except FileNotFoundError:
        known = sorted(file.name.removesuffix(".json") for file in folder.iterdir())
        msg = f"no cost model {name!r}; there are: {', '.join(known)}"
        raise ConfigError(msg) from None
    return CostModel(msgspec.json.decode(text, type=Coefficients))

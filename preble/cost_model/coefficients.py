"""The numbers of a cost model: what its file holds, and what they must fulfil.

A file that passes here is *sound*: no step costs less than nothing, and none gets cheaper by
another token. Where the files come from stands in ADR 0011; what they mean, in `model`.
"""

import math
from itertools import pairwise
from typing import Annotated, Final

import msgspec

_NOTHING_MS: Final = 1e-6
"""What rounding in a file may lose: a nanosecond."""

NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Piece(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`constant_ms + per_token_ms * tokens`, from `min_tokens` up to the next piece."""

    min_tokens: Count
    constant_ms: float
    per_token_ms: NotNegative

    def at_ms(self, tokens: int) -> float:
        """Its line at a number of tokens."""
        return self.constant_ms + self.per_token_ms * tokens


class Attention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Attention of a whole step, in the tokens of context it reads; never below `short_ms`.

    It is halved while the context of a request is small: at most `halved_below_unique_tokens`
    on average, and at most `halved_below_product` in all times the number of requests.
    """

    short_context_tokens: Count
    short_ms: NotNegative
    constant_ms: NotNegative
    per_context_token_ms: NotNegative
    halved_below_unique_tokens: Count = 0
    halved_below_product: Count = 0


class LongRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Extra milliseconds of one request whose new * context tokens exceed `min_product`.

    A single new token is never long: what it reads is in `Attention`. The square of the context
    is for engines that compute the attention of all of it anew, whatever is cached.
    """

    min_product: Count = 0
    constant_ms: float = 0.0
    per_new_token_ms: float = 0.0
    per_context_token_ms: NotNegative = 0.0
    per_product_ms: NotNegative = 0.0
    per_new_squared_ms: float = 0.0
    per_context_squared_ms: NotNegative = 0.0

    def at_ms(self, new_tokens: int, context_tokens: int) -> float:
        """The extra of one long request."""
        return (
            self.constant_ms
            + self.per_new_token_ms * new_tokens
            + self.per_context_token_ms * context_tokens
            + self.per_product_ms * new_tokens * context_tokens
            + self.per_new_squared_ms * new_tokens * new_tokens
            + self.per_context_squared_ms * context_tokens * context_tokens
        )

    def __post_init__(self) -> None:
        """Check it where it is smallest and flattest: just long, all tokens new.

        Raises:
            ValueError: If there it is below 0, or falls with another new token.
        """
        least_tokens = max(1, math.isqrt(self.min_product))
        slope_ms = self.per_product_ms + min(0.0, 2 * self.per_new_squared_ms)
        if slope_ms < 0 or self.per_new_token_ms + slope_ms * least_tokens < 0:
            raise ValueError("a long request must not get cheaper by another new token")
        if self.at_ms(least_tokens, least_tokens) < 0:
            raise ValueError("a long request must not cost less than nothing")


class Coefficients(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One cost model, as its file has it.

    Args:
        name: As settings name it.
        source: Where the numbers come from.
        linear: Linear layers of a step, in its new tokens; the first piece begins at 0.
        attention: Of the step.
        long_request: Of each request in the step.
        efficiency: What the sum is divided by.
        corrections: Each mistake of the source that is not repeated here, and how.
    """

    name: str
    source: str
    linear: Annotated[tuple[Piece, ...], msgspec.Meta(min_length=1)]
    attention: Attention
    long_request: LongRequest
    efficiency: Annotated[float, msgspec.Meta(gt=0, le=1)]
    corrections: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what concerns several pieces. Raises: ValueError."""
        first = self.linear[0]
        if first.min_tokens != 0:
            raise ValueError("the first linear piece must begin at 0 tokens")
        if first.constant_ms < 0 or first.at_ms(1) <= 0:
            raise ValueError("a step of one token must cost something")
        for before, after in pairwise(self.linear):
            start = after.min_tokens
            if start <= before.min_tokens:
                raise ValueError("linear pieces must begin at ever more tokens")
            if after.at_ms(start) < before.at_ms(start - 1) - _NOTHING_MS:
                msg = f"a step of {start} tokens must not cost less than one of {start - 1}"
                raise ValueError(msg)

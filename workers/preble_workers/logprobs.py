"""Logprobs as engines tell them, made alike: finite, likeliest first, one a token. No I/O."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from preble.errors import EngineRefused
from preble.messages import SamplingParams, TokenLogprob

LEAST_LOGPROB: Final = -9999.0
"""Of a token that can hardly be: what OpenAI's API says, and vLLM. Engines may say less, or what
no JSON can hold."""


def token_logprob(
    chosen: float | None, likely: Iterable[tuple[int, float | None]], num_top: int
) -> TokenLogprob:
    """What an engine told of one output token.

    Args:
        chosen: Its own logprob; None for none that JSON can write.
        likely: Ids and logprobs of likely tokens in its place, in any order.
        num_top: How many of these were asked for; more are left out.
    """
    found = [(token_id, _finite(logprob)) for token_id, logprob in likely]
    found.sort(key=lambda each: each[1], reverse=True)
    return TokenLogprob(_finite(chosen), tuple(found[:num_top]))


def certain_logprobs(ids: Iterable[int], sampling: SamplingParams) -> tuple[TokenLogprob, ...]:
    """Of tokens that were not drawn: nothing else was possible. Empty if not asked for."""
    if sampling.logprobs is None:
        return ()
    return tuple(token_logprob(0.0, [(token_id, 0.0)], sampling.logprobs) for token_id in ids)


def check_logprobs(
    sampling: SamplingParams, ids: Sequence[int], logprobs: Sequence[TokenLogprob]
) -> None:
    """See that there is one for each token, if they were asked for.

    Raises:
        EngineRefused: If not: an engine that does not tell them will not do so next time.
    """
    if sampling.logprobs is not None and len(logprobs) != len(ids):
        msg = f"the engine told {len(logprobs)} logprobs of {len(ids)} tokens; ask without logprobs"
        raise EngineRefused(msg)


def _finite(logprob: float | None) -> float:
    """Not below `LEAST_LOGPROB`."""
    if logprob is None or not math.isfinite(logprob):
        return LEAST_LOGPROB
    return max(logprob, LEAST_LOGPROB)

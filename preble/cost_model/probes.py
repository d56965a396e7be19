"""Which prompts to send to an engine so that what it reports are durations of single steps.

A *prefill probe* is a base that the engine holds already, and new tokens after it, no more
than one step computes: its TTFT is one step. A *decode probe* is some prompts that the engine
holds, all at once: what they take for a token is the mean of steps in which only they decode.
"""

from typing import Final

import msgspec

from preble.config import Settings
from preble.cost_model.samples import StepSample

DECODE_TOKENS: Final = 24
"""Output of each request of a decode probe: one more than the steps that are timed."""

_NEW_TOKENS: Final = (8, 16, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192)
_REQUESTS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
_CONTEXTS_OF_UNKNOWN: Final = 4
"""Contexts that an engine is taken to hold if nobody says how much it does."""


class PrefillProbe(msgspec.Struct, frozen=True):
    """New tokens over a base of whole blocks, perhaps empty."""

    base_tokens: int
    new_tokens: int


class DecodeProbe(msgspec.Struct, frozen=True):
    """Requests that decode at once, and the prompt of each."""

    num_requests: int
    prompt_tokens: int


def plan_prefills(settings: Settings) -> list[PrefillProbe]:
    """New tokens up to a whole step, over no base, a third of the longest, and the longest."""
    longest_tokens = min(settings.context_length, _capacity_tokens(settings) // 2)
    room_tokens = max(0, longest_tokens - settings.chunk_tokens - settings.block_size)
    bases = sorted({_blocks(settings, room_tokens * share // 3) for share in (0, 1, 3)})
    largest = min(settings.chunk_tokens, longest_tokens - settings.block_size)
    lengths = [length for length in _NEW_TOKENS if length < largest] + [largest]
    return [PrefillProbe(base, length) for base in bases for length in lengths]


def plan_decodes(settings: Settings) -> list[DecodeProbe]:
    """Ever more requests, with short, middling and long prompts, as far as they fit."""
    longest_tokens = settings.context_length
    lengths = sorted(
        {_blocks(settings, tokens) for tokens in (64, longest_tokens // 8, longest_tokens // 3)}
        - {0}
    )
    capacity_tokens = _capacity_tokens(settings)
    return [
        DecodeProbe(requests, tokens)
        for tokens in lengths
        for requests in _REQUESTS
        if requests <= settings.slots
        and requests * (tokens + DECODE_TOKENS + settings.block_size) <= capacity_tokens
    ]


def prefill_sample(
    settings: Settings, *, prompt_tokens: int, cached_tokens: int, ttft_s: float
) -> StepSample | None:
    """The step of a prefill probe; None if there were several, for its base was evicted."""
    new_tokens = prompt_tokens - cached_tokens
    if not 0 < new_tokens <= settings.chunk_tokens or ttft_s <= 0:
        return None
    return StepSample(new_tokens, prompt_tokens, 1, ttft_s)


def decode_sample(
    settings: Settings, probe: DecodeProbe, *, cached_tokens: int, token_s: float
) -> StepSample | None:
    """The mean step of a decode probe; None if a prompt was computed again beside it.

    Args:
        settings: Of the engine.
        probe: What was sent.
        cached_tokens: The fewest that a request hit.
        token_s: Seconds between two tokens of the request that saw the fewest other prefills.
    """
    if cached_tokens < probe.prompt_tokens - settings.block_size or token_s <= 0:
        return None
    # The first decode step attends to the prompt and the token that the prefill gave.
    mean_tokens = probe.prompt_tokens + DECODE_TOKENS // 2
    requests = probe.num_requests
    return StepSample(requests, requests * mean_tokens, requests, token_s)


def _capacity_tokens(settings: Settings) -> int:
    return settings.kv_capacity_tokens or _CONTEXTS_OF_UNKNOWN * settings.context_length


def _blocks(settings: Settings, tokens: int) -> int:
    return tokens // settings.block_size * settings.block_size

"""The seam between a worker and whatever computes tokens.

Four engines stand behind it: `sglang` (a server that the worker supervises), `http` (a running
SGLang or vLLM by URL), `emulated` (a cost model in real time) and `noop` (answers at once; for
benchmarks of the dispatch path).
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

import msgspec

from preble.messages import JobId, SamplingParams, TokenLogprob, Tokens


class EngineInfo(msgspec.Struct, frozen=True):
    """What an engine can take."""

    slots: int
    """Requests it runs at once."""
    kv_capacity_tokens: int
    page_size: int
    context_length: int
    has_kv_cache: bool = True
    """False if no prompt can ever be a hit."""


class EngineRequest(msgspec.Struct, frozen=True):
    """One prompt to complete."""

    job_id: JobId
    prompt: Tokens
    sampling: SamplingParams
    cache_salt: str
    is_streamed: bool = False
    """Whether somebody wants the tokens as they are made."""


OnTokens = Callable[[Sequence[int], str | None, Sequence[TokenLogprob]], None]
"""Takes the output tokens that are new, their text if the engine speaks text, and the logprob of
each if they were asked for."""


class Completion(msgspec.Struct, frozen=True):
    """What the engine made of a request."""

    output_ids: tuple[int, ...]
    text: str | None
    """None if the engine speaks token ids only: the worker then decodes."""
    finish_reason: str
    cached_tokens: int
    """Prompt tokens that the engine took from its KV cache."""
    ttft_s: float
    """Seconds from the request to its first output token."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of each of `output_ids`, if they were asked for."""


class PagesStored(msgspec.Struct, frozen=True):
    """The engine has computed consecutive pages, in the engine's own hashes."""

    page_hashes: Sequence[int]
    parent_hash: int | None
    """Hash of the page before the first; None at the start of a prompt."""
    token_ids: Sequence[int]
    """All tokens of these pages, shape (len(page_hashes) * page_size,)."""
    cache_salt: str = ""


class PagesRemoved(msgspec.Struct, frozen=True):
    """The engine has evicted these pages."""

    page_hashes: Sequence[int]


class AllPagesCleared(msgspec.Struct, frozen=True):
    """The engine has dropped its whole KV cache."""


PageEvent = PagesStored | PagesRemoved | AllPagesCleared


class Engine(Protocol):
    """One model on one instance. `start` comes first, `close` last."""

    async def start(self) -> EngineInfo:
        """Get ready and say what the engine can take.

        Called again after EngineUnavailable or a hang, to learn whether the engine is back; an
        engine whose process is ours is started anew where that helps.

        Raises:
            ConfigError: If the engine cannot be used as it is configured.
            EngineUnavailable: If it cannot be reached.
        """
        ...

    async def generate(self, request: EngineRequest, on_tokens: OnTokens) -> Completion:
        """Complete one prompt; cancelling the call aborts the request in the engine.

        Args:
            request: What to complete.
            on_tokens: Called when the first output token is there, at the latest with the last:
                the prompt's full pages are then in the KV cache. Of a streamed request, whenever
                there are more; together they begin the output, and may lack its end. Of others
                once, perhaps without tokens.

        Raises:
            EngineRefused: If it will never run this request.
            EngineUnavailable: If it died or cannot be reached; the request may run again.
        """
        ...

    def page_events(self) -> AsyncGenerator[list[PageEvent]]:
        """KV cache events in the engine's order, in batches, until `close`.

        One reader at a time; a later one goes on where an earlier one stopped. Each gets a
        first batch at once, perhaps an empty one: with it, all that is held was told. An
        engine that reports none yields what it is assumed to hold.

        Raises:
            EventsLost: If some can no longer be had. `flush` makes a new beginning.
            EngineUnavailable: If it does not run.
        """
        ...

    async def flush(self) -> None:
        """Drop the whole KV cache; the next event is AllPagesCleared.

        Raises:
            EngineUnavailable: If it cannot be done now, such as while requests run.
        """
        ...

    async def lost(self) -> None:
        """Return when the engine is known to have died, with or without a request."""
        ...

    @property
    def steps(self) -> int:
        """Grows while the engine makes progress or is idle; stands still when it hangs."""
        ...

    async def close(self) -> None:
        """Stop and release everything. Outstanding `generate` calls raise EngineUnavailable."""
        ...

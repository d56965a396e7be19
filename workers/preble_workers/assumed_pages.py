"""What a server that reports no KV events must hold, by the requests it has completed.

A `KvCache` of the server's capacity takes the pages of each request and evicts as SGLang does.
It drifts when others send requests to the same server, and it starts empty beside a server that
is warm already; a wrong belief costs a worse placement, never a wrong answer.
"""

from collections.abc import AsyncGenerator

from preble.messages import TOKEN_BYTES, Tokens, pack_tokens
from preble_workers.engine import Completion, EngineInfo, EngineRequest, PageEvent
from preble_workers.kv_cache import KvCache
from preble_workers.page_feed import PageFeed


class AssumedPages:
    """A `PageSource` without a source."""

    def __init__(self, info: EngineInfo) -> None:
        self._kv_cache = KvCache(
            capacity_pages=info.kv_capacity_tokens // info.page_size, page_size=info.page_size
        )
        self._feed = PageFeed(self._kv_cache)

    def batches(self) -> AsyncGenerator[list[PageEvent]]:
        """What the server is assumed to have stored and evicted."""
        return self._feed.batches()

    def prefilled(self, request: EngineRequest) -> None:
        """The first token needs the KV of all the prompt."""
        self._assume(request, request.prompt)

    def completed(self, request: EngineRequest, completion: Completion) -> None:
        """SGLang keeps all of a completed request but its last token, whose KV it never needs."""
        self._assume(request, Tokens(request.prompt + pack_tokens(completion.output_ids[:-1])))

    def _assume(self, request: EngineRequest, tokens: Tokens) -> None:
        pages = self._kv_cache.pages_of(
            tokens,
            prompt_tokens=len(request.prompt) // TOKEN_BYTES,
            cache_salt=request.cache_salt,
        )
        if self._kv_cache.reserve(pages):
            self._kv_cache.store(pages, len(pages.tokens) // TOKEN_BYTES)
            self._kv_cache.release(pages)
            self._feed.notify()

    def restarted(self) -> None:
        """Nothing is held any more."""
        if self._kv_cache.held_pages:
            self.flushed()

    def flushed(self) -> None:
        """Nothing is held any more, and that is said even if nothing was."""
        self._kv_cache.clear()
        self._feed.notify()

    def close(self) -> None:
        """End the feed."""
        self._feed.close()

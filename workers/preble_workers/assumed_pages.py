"""What a server that reports no KV events must hold, by the requests it has completed.

A `KvCache` of the server's capacity takes the pages of each request and evicts as the engines
do. It drifts when others send requests to the same server, and it starts empty beside a server
that is warm already; a wrong belief costs a worse placement, never a wrong answer. So a belief
that no request has renewed for some time is given up.
"""

import asyncio
from collections.abc import AsyncGenerator

from preble.clock import Clock
from preble.messages import TOKEN_BYTES, Tokens, pack_tokens
from preble_workers.engine import Completion, EngineInfo, EngineRequest, PageEvent
from preble_workers.kv_cache import KvCache
from preble_workers.page_feed import PageFeed


class AssumedPages:
    """A `PageSource` without a source.

    Args:
        info: Of the server, whose cache is imitated.
        ttl_s: How long a page is believed to be held that no request has used.
        clock: Measures that.
    """

    def __init__(self, info: EngineInfo, *, ttl_s: float, clock: Clock) -> None:
        self._kv_cache = KvCache(
            capacity_pages=info.kv_capacity_tokens // info.page_size, page_size=info.page_size
        )
        self._feed = PageFeed(self._kv_cache)
        self._ttl_s = ttl_s
        self._clock = clock
        self._expiry: asyncio.TimerHandle | None = None

    def batches(self) -> AsyncGenerator[list[PageEvent]]:
        """What the server is assumed to have stored and evicted."""
        return self._feed.batches()

    def prefilled(self, request: EngineRequest) -> None:
        """The first token needs the KV of all the prompt."""
        self._assume(request, request.prompt)

    def completed(self, request: EngineRequest, completion: Completion) -> None:
        """Engines keep all of a completed request but its last token, whose KV is not needed."""
        self._assume(request, Tokens(request.prompt + pack_tokens(completion.output_ids[:-1])))

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
        if self._expiry is not None:
            self._expiry.cancel()
        self._feed.close()

    def _assume(self, request: EngineRequest, tokens: Tokens) -> None:
        pages = self._kv_cache.pages_of(
            tokens,
            prompt_tokens=len(request.prompt) // TOKEN_BYTES,
            cache_salt=request.cache_salt,
        )
        if self._kv_cache.reserve(pages):
            self._kv_cache.store(pages, len(pages.tokens) // TOKEN_BYTES)
            self._kv_cache.release(pages, stamp=self._clock.now_s())
            self._feed.notify()
            self._expire_later()

    def _expire_later(self) -> None:
        """One timer at a time: a page lives for up to one and a half times its `ttl_s`."""
        if self._expiry is None:
            delay_s = self._ttl_s / 2
            self._expiry = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self._kv_cache.evict_before(self._clock.now_s() - self._ttl_s)
        self._feed.notify()
        if self._kv_cache.held_pages:
            self._expire_later()

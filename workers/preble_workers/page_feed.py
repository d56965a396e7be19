"""From a KV cache to the one reader of its events, across tasks of one event loop.

What waits unread is bounded by the cache itself (`KvCache.take_events`). So an engine never
waits for its reader: a slow or missing one must not slow down the jobs.
"""

import asyncio
from collections.abc import AsyncGenerator

from preble_workers.engine import PageEvent
from preble_workers.kv_cache import KvCache


class PageFeed:
    """Hands over a KV cache's events, all that wait as one list."""

    def __init__(self, kv_cache: KvCache) -> None:
        self._kv_cache = kv_cache
        self._news = asyncio.Event()
        self._is_closed = False

    def notify(self) -> None:
        """Say that the cache may have events."""
        self._news.set()

    def close(self) -> None:
        """End the feed: its reader gets what waits, and then no more."""
        self._is_closed = True
        self._news.set()

    async def batches(self) -> AsyncGenerator[list[PageEvent]]:
        """Events in order, in batches, until `close`; the first comes at once. One reader."""
        yield self._kv_cache.take_events()
        while not self._is_closed:
            await self._news.wait()
            self._news.clear()
            if events := self._kv_cache.take_events():
                yield events

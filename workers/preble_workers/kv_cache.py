"""A paged KV cache with prefix sharing: which pages are held, pinned, and evicted next.

A page is a run of `page_size` tokens, named by a chained 64-bit hash of the whole prefix that
it ends, so requests that begin alike share their first pages:

    request A   [p0][p1][a2][a3]...     A and B run: p0 and p1 are pinned twice
    request B   [p0][p1][b2]...         a page stays pinned while any request uses it

Held pages are prefix-closed: a page is held only while the page before it is. Hence the held
pages of a request are always its first ones, and a binary search finds how many.

Eviction takes the least recently used leaf, and one ordered dict is enough for that: a request
pins its whole prefix, and what it releases is appended deepest page first. So every evictable
page stands behind all its descendants, and the front of the dict is always a leaf.

Time, tokens' progress and requests' order are not here; see `step_planner`.
"""

from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from xxhash import xxh3_64_intdigest

from preble.block_keys import block_keys
from preble.errors import InvariantError
from preble.messages import TOKEN_BYTES, Tokens, unpack_keys
from preble_workers.engine import AllPagesCleared, PageEvent, PagesRemoved, PagesStored

_ROOT_DOMAIN: Final = b"preble kv page\0"
"""Keeps page hashes apart from block keys, even where a block is one page."""

_MAX_LOG_PER_CAPACITY: Final = 2
"""Pages in events that nobody took, in capacities: beyond, saying what is held is shorter."""


@dataclass(slots=True, eq=False)
class RequestPages:
    """The pages of one request: its prompt and then its output. Made by `KvCache.pages_of`."""

    tokens: Tokens
    prompt_tokens: int
    cache_salt: str
    page_hashes: list[int]
    """Of all full pages, first page first."""
    total_pages: int
    """With the last page, which need not be full."""
    held_pages: int = 0
    """The first so many are held in the cache and pinned by this request."""
    reserved_pages: int = 0
    """Set aside in the cache for what this request has yet to compute."""


@dataclass(slots=True, eq=False)
class _Page:
    parent_hash: int | None
    tokens: bytes
    cache_salt: str
    pins: int = 1


@dataclass(slots=True)
class _Log:
    """Events nobody has taken yet, or the fact that there were too many to keep."""

    max_pages: int
    events: list[PageEvent] = field(default_factory=list[PageEvent])
    num_pages: int = 0
    has_overflowed: bool = False

    def append(self, event: PageEvent, num_pages: int) -> None:
        self.num_pages += num_pages
        if self.num_pages > self.max_pages:
            self.has_overflowed = True
            self.events = []
        if not self.has_overflowed:
            self.events.append(event)


class KvCache:
    """Pages held, and the events that tell others so. Never above its capacity."""

    def __init__(self, *, capacity_pages: int, page_size: int) -> None:
        self.capacity_pages = capacity_pages
        self.page_size = page_size
        self._pages: dict[int, _Page] = {}
        self._evictable: OrderedDict[int, float] = OrderedDict()
        """With the stamp of each release."""
        self._reserved_pages = 0
        self._log = self._new_log()

    @property
    def held_pages(self) -> int:
        """Pages whose tokens are cached, pinned or not."""
        return len(self._pages)

    def pages_of(self, tokens: Tokens, *, prompt_tokens: int, cache_salt: str) -> RequestPages:
        """Cut a request into pages and hash them.

        Args:
            tokens: The prompt and all of the output that may be computed.
            prompt_tokens: How many of them are the prompt, >= 1.
            cache_salt: Requests with different salts share no page.

        Changes: nothing.
        Cost: O(len(tokens)).
        """
        root = xxh3_64_intdigest(_ROOT_DOMAIN + cache_salt.encode())
        hashes = unpack_keys(block_keys(tokens, root=root, block_size=self.page_size))
        total_pages = -(-len(tokens) // (self.page_size * TOKEN_BYTES))
        return RequestPages(tokens, prompt_tokens, cache_salt, hashes, total_pages)

    def hit_pages(self, request: RequestPages) -> int:
        """Cached pages a request may take over.

        SGLang's rule: at least one prompt token must be computed, for it yields the first
        output token.

        Changes: nothing.
        Cost: O(log pages).
        """
        return self._held_until(request, 0, (request.prompt_tokens - 1) // self.page_size)

    def reserve(self, request: RequestPages) -> bool:
        """Pin a request's hits and set pages aside for all the rest of it, or do nothing.

        Reserving the whole request at once means that a request that has started can always
        end: none ever waits for pages of another.

        Returns:
            Whether it fits beside what is pinned and reserved.

        Changes: on success `request`, and evicts what is in the way.
        Cost: O(pages of the request).
        """
        hits = request.page_hashes[: self.hit_pages(request)]
        missing_pages = request.total_pages - len(hits)
        newly_pinned = sum(page_hash in self._evictable for page_hash in hits)
        pinned_pages = len(self._pages) - len(self._evictable) + newly_pinned
        if pinned_pages + self._reserved_pages + missing_pages > self.capacity_pages:
            return False
        self._pin(hits)
        request.held_pages = len(hits)
        request.reserved_pages = missing_pages
        self._reserved_pages += missing_pages
        self._evict(len(self._pages) + self._reserved_pages - self.capacity_pages)
        return True

    def store(self, request: RequestPages, computed_tokens: int) -> None:
        """Take the full pages among a request's first `computed_tokens`, for others to hit.

        Pages that another request has stored meanwhile are shared, not stored twice.

        Changes: `request`; pages come out of its reservation.
        Cost: O(new pages).
        """
        first, end = request.held_pages, computed_tokens // self.page_size
        if end <= first:
            return
        known = self._held_until(request, first, end)
        self._pin(request.page_hashes[first:known])
        self._insert(request, known, end)
        request.held_pages = end
        self._unreserve(request, end - first)

    def release(self, request: RequestPages, *, stamp: float = 0.0) -> None:
        """End a request: its stored pages stay cached but may be evicted. Twice does no harm.

        Args:
            request: That has ended.
            stamp: For `evict_before`; never less than that of an earlier release.

        Changes: `request`.
        Cost: O(pages of the request).
        """
        for page_hash in reversed(request.page_hashes[: request.held_pages]):
            page = self._pages[page_hash]
            page.pins -= 1
            if page.pins == 0:
                self._evictable[page_hash] = stamp
        request.held_pages = 0
        self._unreserve(request, request.reserved_pages)

    def evict_before(self, stamp: float) -> None:
        """Evict what was last released with a lesser stamp.

        Cost: O(pages evicted).
        """
        stamps = self._evictable.values()
        self._evict(sum(1 for _ in takewhile(lambda each: each < stamp, stamps)))

    def clear(self) -> None:
        """Drop everything.

        Raises:
            InvariantError: If a request still holds pages.
        """
        if self._reserved_pages or len(self._pages) > len(self._evictable):
            msg = "a KV cache was cleared while requests held its pages"
            raise InvariantError(msg)
        self._pages.clear()
        self._evictable.clear()
        self._log.append(AllPagesCleared(), 1)

    def take_events(self) -> list[PageEvent]:
        """What happened since the last call, in order.

        If that is too much to keep, it is told as what is held now, from the beginning: the
        result is the same, and a reader that never comes costs bounded memory.

        Changes: forgets these events.
        """
        log, self._log = self._log, self._new_log()
        return self._restate() if log.has_overflowed else log.events

    def check_invariants(self) -> None:
        """Check what must hold between calls. Raises: InvariantError. Cost: O(held pages)."""
        for violation in self._violations():
            msg = f"KV cache: {violation}"
            raise InvariantError(msg)

    def _held_until(self, request: RequestPages, first: int, end: int) -> int:
        """The first page in `first..end` that is not held; `end` if all are."""
        return bisect_left(
            request.page_hashes, x=True, lo=first, hi=end, key=lambda page: page not in self._pages
        )

    def _pin(self, page_hashes: Sequence[int]) -> None:
        for page_hash in page_hashes:
            page = self._pages[page_hash]
            if page.pins == 0:
                del self._evictable[page_hash]
            page.pins += 1

    def _insert(self, request: RequestPages, first: int, end: int) -> None:
        if end == first:
            return
        stride = self.page_size * TOKEN_BYTES
        hashes = request.page_hashes
        parent_hash = run_parent = hashes[first - 1] if first else None
        for index in range(first, end):
            tokens = request.tokens[index * stride : (index + 1) * stride]
            self._pages[hashes[index]] = _Page(parent_hash, tokens, request.cache_salt)
            parent_hash = hashes[index]
        run_tokens = array("I", request.tokens[first * stride : end * stride])
        event = PagesStored(hashes[first:end], run_parent, run_tokens, request.cache_salt)
        self._log.append(event, end - first)

    def _evict(self, num_pages: int) -> None:
        if num_pages <= 0:
            return
        hashes = [self._evictable.popitem(last=False)[0] for _ in range(num_pages)]
        for page_hash in hashes:
            del self._pages[page_hash]
        self._log.append(PagesRemoved(hashes), num_pages)

    def _unreserve(self, request: RequestPages, num_pages: int) -> None:
        request.reserved_pages -= num_pages
        self._reserved_pages -= num_pages

    def _restate(self) -> list[PageEvent]:
        """Everything held, as if stored anew; a dict keeps parents before their children."""
        stored = (
            PagesStored([page_hash], page.parent_hash, array("I", page.tokens), page.cache_salt)
            for page_hash, page in self._pages.items()
        )
        return [AllPagesCleared(), *stored]

    def _new_log(self) -> _Log:
        return _Log(max_pages=_MAX_LOG_PER_CAPACITY * self.capacity_pages)

    def _violations(self) -> Iterator[str]:
        unpinned = {page_hash for page_hash, page in self._pages.items() if page.pins == 0}
        rank = {page_hash: rank for rank, page_hash in enumerate(self._evictable)}
        if not 0 <= self._reserved_pages <= self.capacity_pages - len(self._pages):
            yield f"{len(self._pages)} held, {self._reserved_pages} reserved: beyond capacity"
        if unpinned != rank.keys():
            yield "what may be evicted is not what is unpinned"
        for page_hash, page in self._pages.items():
            if page.parent_hash is None:
                continue
            parent = self._pages.get(page.parent_hash)
            if parent is None or parent.pins < page.pins:
                yield f"page {page_hash:#x} is held or pinned without its prefix"
            elif parent.pins == 0 and rank[page_hash] > rank[page.parent_hash]:
                yield f"page {page_hash:#x} would lose its prefix first"

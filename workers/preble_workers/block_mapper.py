"""From an engine's pages to Preble's blocks. Pure.

A block is a fixed number of pages. The engine names pages by hashes of its own; a block's key
is ours (`preble.block_keys`) and needs the tokens of all its pages and the key of the block
before it:

    pages    [p0][p1][p2][p3] [p4][p5][p6][p7] [p8]      4 pages a block
    blocks   [ key k0 at p3 ] [ key k1 at p7 ]  none yet

So each held page remembers its parent, the last key at or before it, and its tokens, unless it
ends a block: nothing built on it needs those. A block is held while all its pages are. Events
say so from the last page on, and engines evict leaves first, which makes both directions one
step a page; removals in another order are taken too, at the price of a sweep.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from preble.block_keys import block_keys, next_key, root_key
from preble.errors import ConfigError, EventsLost
from preble.messages import (
    TOKEN_BYTES,
    AllBlocksCleared,
    BlockEvent,
    BlocksRemoved,
    BlocksStored,
    PoolRecord,
    Tokens,
    pack_keys,
    pack_tokens,
    unpack_keys,
)
from preble_workers.engine import AllPagesCleared, PageEvent, PagesRemoved, PagesStored


@dataclass(slots=True, eq=False)
class _Page:
    page_hash: int
    parent: "_Page | None"
    index: int
    """Pages before it in its prompt."""
    key: int
    """Of the last full block that ends at or before this page, else the root."""
    page_key: int
    """Of the prefix that this page ends: `key`'s like, with a page for a block."""
    tokens: Tokens
    """Its own; empty once they are in a key that ends here."""
    num_children: int = 0
    is_gone: bool = False
    """Removed by the engine, while pages that follow it are still held."""


class BlockMapper:
    """Folds page events, in order, into block events.

    Args:
        pool: Its fingerprint seeds the keys; its block must be made of whole pages.
        page_size: The engine's own.

    Raises:
        ConfigError: If a block is not made of whole pages.
    """

    def __init__(self, pool: PoolRecord, *, page_size: int) -> None:
        if pool.block_size % page_size:
            msg = f"block_size {pool.block_size} is not a multiple of page_size {page_size}"
            raise ConfigError(msg)
        self._pool = pool
        self.page_size = page_size
        self._block_pages = pool.block_size // page_size
        self._page_bytes = page_size * TOKEN_BYTES
        self._pages: dict[int, _Page] = {}
        self._page_keys: set[int] = set()
        self.version = 0
        """Grows with each event: what was held at the same version is held still."""

    def apply(self, event: PageEvent) -> BlockEvent | None:
        """Take one event; None if no block comes or goes by it.

        A page stored twice counts once; removing an unknown page does nothing.

        Raises:
            EventsLost: If a page follows one that was never reported; nothing has changed.
                Removals may be among what was missed, so no belief can be relied on.

        Changes: the pages known.
        Cost: O(pages of the event), if pages go after those that follow them.
        """
        self.version += 1
        match event:
            case PagesStored():
                return self._store(event)
            case PagesRemoved():
                return self._remove(event)
            case AllPagesCleared():
                return self._clear()

    def page_keys(self, prompt: Tokens, cache_salt: str) -> list[int]:
        """Keys of a prompt's full pages, for `holds`. Cost: O(len(prompt))."""
        root = root_key(self._pool, cache_salt)
        return unpack_keys(block_keys(prompt, root=root, block_size=self.page_size))

    def holds(self, page_key: int) -> bool:
        """Whether the engine holds this page; then it holds the pages before it, too."""
        return page_key in self._page_keys

    def held_runs(self) -> list[BlocksStored]:
        """All held blocks, in runs that are as long as can be, each after the run it follows.

        Cost: O(held pages).
        """
        runs: list[list[_Page]] = []
        by_last_key: dict[int | None, list[_Page]] = {}
        for block in filter(self._ends_block, self._pages.values()):
            run = by_last_key.pop(self._parent_key(block), None)
            if run is None:
                runs.append(run := list[_Page]())
            run.append(block)
            by_last_key[block.key] = run
        return [self._stored(run) for run in runs]

    def _clear(self) -> AllBlocksCleared:
        self._pages.clear()
        self._page_keys.clear()
        return AllBlocksCleared()

    def _store(self, event: PagesStored) -> BlocksStored | None:
        parent: _Page | None = None
        if event.parent_hash is not None:
            parent = self._pages.get(event.parent_hash)
            if parent is None:
                msg = f"page {event.page_hashes[0]:#x} follows an unknown page"
                raise EventsLost(msg)
        blocks: list[_Page] = []
        for page_hash, tokens in zip(event.page_hashes, self._cut(event), strict=True):
            page = self._pages.get(page_hash)
            if page is None:
                page = self._add(page_hash, parent, tokens, event.cache_salt)
                if self._ends_block(page):
                    blocks.append(page)
            parent = page
        return self._stored(blocks) if blocks else None

    def _stored(self, run: Sequence[_Page]) -> BlocksStored:
        return BlocksStored(pack_keys(block.key for block in run), self._parent_key(run[0]))

    def _cut(self, event: PagesStored) -> Iterator[Tokens]:
        tokens = pack_tokens(event.token_ids)
        size = self._page_bytes
        return (Tokens(tokens[at : at + size]) for at in range(0, len(tokens), size))

    def _add(self, page_hash: int, parent: _Page | None, tokens: Tokens, salt: str) -> _Page:
        if parent is None:
            root = root_key(self._pool, salt)
            page = _Page(page_hash, None, 0, root, next_key(root, tokens), tokens)
        else:
            page_key = next_key(parent.page_key, tokens)
            page = _Page(page_hash, parent, parent.index + 1, parent.key, page_key, tokens)
            parent.num_children += 1
        if self._ends_block(page):
            page.key = next_key(page.key, self._block_tokens(page))
            page.tokens = Tokens(b"")
        self._pages[page_hash] = page
        self._page_keys.add(page.page_key)
        return page

    def _ends_block(self, page: _Page) -> bool:
        return (page.index + 1) % self._block_pages == 0

    def _parent_key(self, last: _Page) -> int | None:
        """The key of the block before the one that `last` ends; None for a prompt's first."""
        if last.parent is None or last.index < self._block_pages:
            return None
        return last.parent.key

    def _block_tokens(self, last: _Page) -> Tokens:
        """The tokens of the block that `last` ends."""
        parts = [last.tokens]
        page = last
        while page.index % self._block_pages and page.parent is not None:
            page = page.parent
            parts.append(page.tokens)
        return Tokens(b"".join(reversed(parts)))

    def _remove(self, event: PagesRemoved) -> BlocksRemoved | None:
        gone = [page for page in map(self._pages.get, event.page_hashes) if page is not None]
        for page in gone:
            self._mark_gone(page)
        keys = self._drop(gone)
        if any(page.page_hash in self._pages for page in gone):
            keys += self._drop(self._orphans())
        return BlocksRemoved(pack_keys(keys)) if keys else None

    def _mark_gone(self, page: _Page) -> None:
        page.is_gone = True
        self._page_keys.discard(page.page_key)

    def _drop(self, pages: Iterable[_Page]) -> list[int]:
        """Forget those of these pages, and of the pages before them, that nothing follows.

        Returns:
            Keys of the blocks that were held, each before the block it follows.
        """
        keys: list[int] = []
        for first in pages:
            page: _Page | None = first
            while page is not None and page.is_gone and page.num_children == 0:
                if self._pages.pop(page.page_hash, None) is None:
                    break
                if self._ends_block(page):
                    keys.append(page.key)
                page = page.parent
                if page is not None:
                    page.num_children -= 1
        return keys

    def _orphans(self) -> list[_Page]:
        """Mark what stands on removed pages as gone too: without its prefix no block is held.

        An engine that evicts leaves first never gets here.

        Cost: O(held pages).
        """
        for page in self._pages.values():
            if page.parent is not None and page.parent.is_gone:
                self._mark_gone(page)
        return [page for page in self._pages.values() if page.is_gone]

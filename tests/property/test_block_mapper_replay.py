"""Replaying what the mapper says gives exactly the blocks all of whose pages are held.

A block is always said after the one it follows, and unsaid before it.
"""

from hypothesis import given
from hypothesis import strategies as st

from preble.block_keys import block_keys, root_key
from preble.messages import (
    AllBlocksCleared,
    BlockEvent,
    BlocksRemoved,
    BlocksStored,
    PoolRecord,
    pack_tokens,
    unpack_keys,
)
from preble_workers.block_mapper import BlockMapper
from preble_workers.engine import AllPagesCleared, PageEvent, PagesRemoved, PagesStored
from preble_workers.kv_cache import KvCache

PAGE = 2

prompts = st.lists(st.integers(0, 1), min_size=1, max_size=24)


def make_pool(pages_per_block: int) -> PoolRecord:
    return PoolRecord("m", "f", 2, 64, block_size=PAGE * pages_per_block, page_size=PAGE)


Held = dict[int, int | None]
"""Each block that is held, with the block it follows."""


def replay(held: Held, event: BlockEvent | None) -> None:
    match event:
        case BlocksStored():
            parent_key = event.parent_key
            for key in unpack_keys(event.block_keys):
                assert key not in held
                assert parent_key is None or parent_key in held
                held[key] = parent_key
                parent_key = key
        case BlocksRemoved():
            for key in unpack_keys(event.block_keys):
                del held[key]
                assert key not in held.values()
        case AllBlocksCleared():
            held.clear()
        case None:
            pass


def restated(mapper: BlockMapper) -> Held:
    held: Held = {}
    for run in mapper.held_runs():
        replay(held, run)
    return held


def parents_of(keys: list[int]) -> Held:
    return dict(zip(keys, [None, *keys], strict=False))


def held_pages_after(pages: set[int], event: PageEvent) -> set[int]:
    match event:
        case PagesStored():
            return pages | set(event.page_hashes)
        case PagesRemoved():
            return pages - set(event.page_hashes)
        case AllPagesCleared():
            return set()


@given(
    st.integers(1, 4),
    st.integers(1, 20),
    st.lists(st.tuples(prompts, st.sampled_from(["", "s"])), max_size=12),
    st.booleans(),
)
def test_blocks_follow_a_cache(
    pages_per_block: int,
    capacity_pages: int,
    requests: list[tuple[list[int], str]],
    reads_late: bool,  # noqa: FBT001  # what Hypothesis draws
) -> None:
    """A cache under pressure, read after each request or, overflowing, at the end only."""
    pool = make_pool(pages_per_block)
    cache = KvCache(capacity_pages=capacity_pages, page_size=PAGE)
    mapper = BlockMapper(pool, page_size=PAGE)
    pages_of_key: dict[int, list[int]] = {}
    parents: Held = {}
    blocks: Held = {}
    pages: set[int] = set()
    for position, (ids, salt) in enumerate(requests, start=1):
        tokens = pack_tokens(ids)
        request = cache.pages_of(tokens, prompt_tokens=len(ids), cache_salt=salt)
        if cache.reserve(request):
            cache.store(request, len(ids))
        cache.release(request)
        root = root_key(pool, salt)
        keys = unpack_keys(block_keys(tokens, root=root, block_size=pool.block_size))
        parents |= parents_of(keys)
        for index, key in enumerate(keys):
            pages_of_key[key] = request.page_hashes[: (index + 1) * pages_per_block]
        if reads_late and position < len(requests):
            continue
        for event in cache.take_events():
            pages = held_pages_after(pages, event)
            replay(blocks, mapper.apply(event))
        held = {key for key, needed in pages_of_key.items() if pages.issuperset(needed)}
        assert blocks == {key: parents[key] for key in held}
        assert restated(mapper) == blocks


@given(
    st.integers(1, 4),
    st.lists(st.tuples(prompts, st.lists(st.integers(0, 11), max_size=6)), max_size=10),
)
def test_removals_in_any_order_leave_whole_prefixes(
    pages_per_block: int, rounds: list[tuple[list[int], list[int]]]
) -> None:
    """Each round stores a prompt, and then removes pages of it in one event, from anywhere.

    A removed page takes along all that follows it: without its prefix nothing can be hit.
    """
    pool = make_pool(pages_per_block)
    mapper = BlockMapper(pool, page_size=PAGE)
    prefixes: set[tuple[int, ...]] = set()
    blocks: Held = {}
    for ids, cuts in rounds:
        pages = [tuple(ids[:end]) for end in range(PAGE, len(ids) + 1, PAGE)]
        prefixes.update(pages)
        hashes = [hash(page) for page in pages]
        replay(blocks, mapper.apply(PagesStored(hashes, None, ids[: len(pages) * PAGE])))
        removed = [pages[cut] for cut in cuts if cut < len(pages)]
        prefixes = {
            prefix
            for prefix in prefixes
            if not any(prefix[: len(page)] == page for page in removed)
        }
        replay(blocks, mapper.apply(PagesRemoved([hash(page) for page in removed])))
        assert blocks == blocks_of(prefixes, pool)
        assert restated(mapper) == blocks


def blocks_of(prefixes: set[tuple[int, ...]], pool: PoolRecord) -> Held:
    root = root_key(pool, "")
    blocks: Held = {}
    for prefix in prefixes:
        keys = block_keys(pack_tokens(prefix), root=root, block_size=pool.block_size)
        blocks |= parents_of(unpack_keys(keys))
    return blocks

"""The paged KV cache, by worked examples; the state machine is in tests/property."""

import pytest

from preble.errors import InvariantError
from preble.messages import pack_tokens
from preble_workers.engine import AllPagesCleared, PageEvent, PagesRemoved, PagesStored
from preble_workers.kv_cache import KvCache, RequestPages

PAGE = 4


def make_cache(capacity_pages: int = 8) -> KvCache:
    return KvCache(capacity_pages=capacity_pages, page_size=PAGE)


def pages_of(
    cache: KvCache, *ids: int, output_tokens: int = 0, cache_salt: str = ""
) -> RequestPages:
    tokens = pack_tokens([*ids, *[9] * output_tokens])
    return cache.pages_of(tokens, prompt_tokens=len(ids), cache_salt=cache_salt)


def run_through(cache: KvCache, request: RequestPages) -> RequestPages:
    assert cache.reserve(request)
    cache.store(request, len(request.tokens) // 4)
    cache.release(request)
    return request


def kinds(events: list[PageEvent]) -> list[type[PageEvent]]:
    return [type(event) for event in events]


def test_a_new_prompt_hits_nothing() -> None:
    cache = make_cache()
    assert cache.hit_pages(pages_of(cache, *range(12))) == 0


def test_a_prompt_that_ran_before_hits_its_pages() -> None:
    cache = make_cache()
    run_through(cache, pages_of(cache, *range(12)))
    assert cache.hit_pages(pages_of(cache, *range(10), 77, 78)) == 2


def test_a_fully_cached_prompt_leaves_one_token_to_compute() -> None:
    cache = make_cache()
    run_through(cache, pages_of(cache, *range(12)))
    assert cache.hit_pages(pages_of(cache, *range(12))) == 2
    assert cache.hit_pages(pages_of(cache, *range(12), 99)) == 3


def test_a_page_names_its_whole_prefix() -> None:
    cache = make_cache()
    run_through(cache, pages_of(cache, *range(12)))
    assert cache.hit_pages(pages_of(cache, 50, 51, 52, 53, *range(4, 12))) == 0


def test_salts_share_nothing() -> None:
    cache = make_cache()
    run_through(cache, pages_of(cache, *range(12), cache_salt="a"))
    assert cache.hit_pages(pages_of(cache, *range(12), cache_salt="b")) == 0


def test_pages_of_the_output_are_hit_by_the_next_turn() -> None:
    cache = make_cache()
    run_through(cache, pages_of(cache, *range(6), output_tokens=6))
    assert cache.hit_pages(pages_of(cache, *range(6), *[9] * 6, 1)) == 3


def test_pages_are_hit_while_their_request_still_runs() -> None:
    cache = make_cache()
    first = pages_of(cache, *range(12), output_tokens=4)
    assert cache.reserve(first)
    cache.store(first, 9)
    assert cache.hit_pages(pages_of(cache, *range(12))) == 2


def test_a_reservation_counts_prompt_and_output() -> None:
    cache = make_cache(capacity_pages=4)
    assert cache.reserve(pages_of(cache, *range(5), output_tokens=3))
    assert not cache.reserve(pages_of(cache, *range(20, 29)))
    assert cache.reserve(pages_of(cache, *range(20, 28)))
    cache.check_invariants()


def test_hits_of_a_request_are_not_evicted_for_it() -> None:
    cache = make_cache(capacity_pages=3)
    run_through(cache, pages_of(cache, *range(12)))
    again = pages_of(cache, *range(8), 70, 71, 72, 73)
    assert cache.reserve(again)
    assert (again.held_pages, again.reserved_pages, cache.held_pages) == (2, 1, 2)
    cache.check_invariants()


def test_what_does_not_fit_changes_nothing() -> None:
    cache = make_cache(capacity_pages=3)
    run_through(cache, pages_of(cache, *range(8)))
    cache.take_events()
    large = pages_of(cache, *range(8), 1, output_tokens=8)
    assert not cache.reserve(large)
    assert (large.held_pages, cache.held_pages, cache.take_events()) == (0, 2, [])
    cache.check_invariants()


def test_the_least_recently_used_leaf_goes_first() -> None:
    """Held: 0-1-2 and, later, 0-1-3. A third request of two pages evicts 2, then 3."""
    cache = make_cache(capacity_pages=4)
    head = range(8)
    old = run_through(cache, pages_of(cache, *head, 20, 21, 22, 23))
    new = run_through(cache, pages_of(cache, *head, 30, 31, 32, 33))
    cache.take_events()
    assert cache.reserve(pages_of(cache, *range(40, 48)))
    assert cache.take_events() == [PagesRemoved([old.page_hashes[2], new.page_hashes[2]])]


def test_pinned_pages_are_never_evicted() -> None:
    cache = make_cache(capacity_pages=2)
    running = pages_of(cache, *range(8))
    assert cache.reserve(running)
    cache.store(running, 8)
    assert not cache.reserve(pages_of(cache, 50))
    cache.release(running)
    assert cache.reserve(pages_of(cache, 50))


def test_stored_pages_are_told_with_parent_and_tokens() -> None:
    cache = make_cache()
    request = pages_of(cache, *range(12), cache_salt="s")
    assert cache.reserve(request)
    cache.store(request, 5)
    cache.store(request, 7)
    cache.store(request, 12)
    first, second = cache.take_events()
    assert isinstance(first, PagesStored)
    assert isinstance(second, PagesStored)
    assert (list(first.page_hashes), first.parent_hash) == (request.page_hashes[:1], None)
    assert list(second.page_hashes) == request.page_hashes[1:]
    assert second.parent_hash == request.page_hashes[0]
    assert (list(second.token_ids), second.cache_salt) == (list(range(4, 12)), "s")


def test_pages_computed_twice_are_stored_once_and_free_their_reservation() -> None:
    cache = make_cache(capacity_pages=5)
    one, two = pages_of(cache, *range(8)), pages_of(cache, *range(8))
    assert cache.reserve(one)
    assert cache.reserve(two)
    cache.store(one, 8)
    cache.take_events()
    cache.store(two, 8)
    assert cache.take_events() == []
    assert cache.reserve(pages_of(cache, *range(20, 32)))
    cache.check_invariants()


def test_a_released_request_gives_back_what_it_never_used() -> None:
    cache = make_cache(capacity_pages=4)
    request = pages_of(cache, *range(6), output_tokens=10)
    assert cache.reserve(request)
    cache.store(request, 6)
    cache.release(request)
    cache.release(request)
    assert cache.held_pages == 1
    assert cache.reserve(pages_of(cache, *range(20, 36)))
    cache.check_invariants()


def test_clearing_drops_and_tells() -> None:
    cache = make_cache()
    request = run_through(cache, pages_of(cache, *range(12)))
    cache.clear()
    assert cache.hit_pages(request) == 0
    assert kinds(cache.take_events()) == [PagesStored, AllPagesCleared]


def test_a_cache_in_use_is_not_cleared() -> None:
    cache = make_cache()
    assert cache.reserve(pages_of(cache, 1))
    with pytest.raises(InvariantError, match="while requests"):
        cache.clear()


def test_events_nobody_takes_become_what_is_held() -> None:
    """Capacity 2, so at most 4 pages of events are kept; the third request overflows them."""
    cache = make_cache(capacity_pages=2)
    for start in (0, 20, 40):
        last = run_through(cache, pages_of(cache, *range(start, start + 8)))
    cleared, *stored = cache.take_events()
    assert cleared == AllPagesCleared()
    assert [list(event.page_hashes) for event in stored if isinstance(event, PagesStored)] == [
        [page_hash] for page_hash in last.page_hashes
    ]
    assert cache.take_events() == []


def test_a_broken_cache_is_noticed() -> None:
    cache = make_cache()
    request = run_through(cache, pages_of(cache, *range(8)))
    order = cache._evictable  # pyright: ignore[reportPrivateUsage]  # to break it
    order.move_to_end(request.page_hashes[1])
    with pytest.raises(InvariantError, match="prefix first"):
        cache.check_invariants()

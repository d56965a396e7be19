"""Pages to blocks, by worked examples; replay against the definition is in tests/property."""

from collections.abc import Sequence

import pytest

from preble.block_keys import block_keys, root_key
from preble.errors import ConfigError, EventsLost
from preble.messages import (
    AllBlocksCleared,
    BlocksRemoved,
    BlocksStored,
    PoolRecord,
    pack_keys,
    pack_tokens,
    unpack_keys,
)
from preble_workers.block_mapper import BlockMapper
from preble_workers.engine import AllPagesCleared, PagesRemoved, PagesStored

POOL = PoolRecord("m", "f", vocab_size=100, context_length=512, block_size=8, page_size=2)
PAGE = 2
"""Four pages a block. Pages are named by their position: page i holds tokens 2i and 2i + 1."""


def keys_of(num_tokens: int, *, salt: str = "", block_size: int = 8) -> list[int]:
    tokens = pack_tokens(range(num_tokens))
    return unpack_keys(block_keys(tokens, root=root_key(POOL, salt), block_size=block_size))


def stored(first: int, end: int, *, salt: str = "") -> PagesStored:
    parent = first - 1 if first else None
    return PagesStored(range(first, end), parent, range(first * PAGE, end * PAGE), salt)


def said(*keys: int, after: int | None = None) -> BlocksStored:
    return BlocksStored(pack_keys(keys), after)


def held_keys(mapper: BlockMapper) -> list[int]:
    return [key for run in mapper.held_runs() for key in unpack_keys(run.block_keys)]


def unsaid(keys: Sequence[int]) -> BlocksRemoved:
    return BlocksRemoved(pack_keys(keys))


def make_mapper() -> BlockMapper:
    return BlockMapper(POOL, page_size=PAGE)


def test_keys_are_those_of_the_prompt() -> None:
    mapper = make_mapper()
    assert mapper.apply(stored(0, 13)) == said(*keys_of(24))
    assert held_keys(mapper) == keys_of(26)


def test_a_block_is_stored_with_its_last_page() -> None:
    mapper = make_mapper()
    assert [mapper.apply(stored(i, i + 1)) for i in range(3)] == [None] * 3
    assert mapper.apply(stored(3, 4)) == said(*keys_of(8))


def test_a_block_goes_with_any_of_its_pages() -> None:
    first, second = keys_of(16)
    mapper = make_mapper()
    mapper.apply(stored(0, 8))
    assert mapper.apply(PagesRemoved([7])) == unsaid([second])
    assert mapper.apply(PagesRemoved([6, 5, 4])) is None
    assert mapper.apply(PagesRemoved([3])) == unsaid([first])
    assert held_keys(mapper) == []


@pytest.mark.parametrize("order", [range(8), range(7, -1, -1), (3, 7, 0, 1, 6, 2, 5, 4)])
def test_pages_of_one_removal_may_come_in_any_order(order: Sequence[int]) -> None:
    mapper = make_mapper()
    mapper.apply(stored(0, 8))
    removed = mapper.apply(PagesRemoved(order))
    assert removed == unsaid(keys_of(16)[::-1])
    assert held_keys(mapper) == []


def test_what_stands_on_a_removed_page_goes_too() -> None:
    first, second = keys_of(16)
    mapper = make_mapper()
    mapper.apply(stored(0, 10))
    assert mapper.apply(PagesRemoved([5])) == unsaid([second])
    assert held_keys(mapper) == [first]
    assert mapper.apply(stored(5, 8)) == said(second, after=first)


def test_a_run_names_the_block_that_it_follows() -> None:
    first, second, third = keys_of(24)
    mapper = make_mapper()
    assert mapper.apply(stored(0, 3)) is None
    assert mapper.apply(stored(3, 7)) == said(first), "its first page came earlier"
    assert mapper.apply(stored(7, 12)) == said(second, third, after=first)


def test_what_is_held_is_said_in_runs_after_those_they_follow() -> None:
    """Two prompts share a block, and grew by turns."""
    first, second, third, fourth = keys_of(32)
    mapper = make_mapper()
    mapper.apply(stored(0, 8))
    branch = mapper.apply(PagesStored(range(100, 104), 3, range(70, 78)))
    assert isinstance(branch, BlocksStored)
    mapper.apply(stored(8, 12))
    other = mapper.apply(PagesStored(range(200, 208), None, range(80, 96)))
    mapper.apply(stored(12, 16))
    assert branch.parent_key == first
    assert mapper.held_runs() == [said(first, second, third, fourth), branch, other]


def test_blocks_may_branch_inside_a_block() -> None:
    """A second prompt shares the first three pages, then differs."""
    mapper = make_mapper()
    mapper.apply(stored(0, 4))
    branch = mapper.apply(PagesStored([100], 2, [70, 71]))
    tokens = pack_tokens([*range(6), 70, 71])
    expected = unpack_keys(block_keys(tokens, root=root_key(POOL, ""), block_size=8))
    assert branch == said(*expected)
    assert held_keys(mapper) == [*keys_of(8), *expected]


def test_salts_have_keys_of_their_own() -> None:
    mapper = make_mapper()
    assert mapper.apply(stored(0, 4, salt="tenant")) == said(*keys_of(8, salt="tenant"))
    assert keys_of(8) != keys_of(8, salt="tenant")


def test_a_page_stored_twice_counts_once() -> None:
    mapper = make_mapper()
    mapper.apply(stored(0, 4))
    assert mapper.apply(stored(0, 4)) is None
    first, second = keys_of(16)
    assert mapper.apply(stored(2, 8)) == said(second, after=first)


def test_removing_an_unknown_page_does_nothing() -> None:
    mapper = make_mapper()
    mapper.apply(stored(0, 4))
    assert mapper.apply(PagesRemoved([55])) is None
    assert held_keys(mapper) == keys_of(8)


def test_clearing_drops_everything() -> None:
    mapper = make_mapper()
    mapper.apply(stored(0, 4))
    assert mapper.apply(AllPagesCleared()) == AllBlocksCleared()
    assert held_keys(mapper) == []
    assert mapper.apply(stored(0, 4)) == said(*keys_of(8))


def test_an_unknown_parent_is_a_gap() -> None:
    mapper = make_mapper()
    mapper.apply(stored(0, 4))
    with pytest.raises(EventsLost, match="unknown page"):
        mapper.apply(stored(6, 8))
    assert held_keys(mapper) == keys_of(8)


def test_pages_are_held_from_their_first_to_their_last_event() -> None:
    mapper = make_mapper()
    prompt = pack_tokens(range(19))
    keys = mapper.page_keys(prompt, "")
    mapper.apply(stored(0, 4))
    mapper.apply(PagesRemoved([3]))
    assert [mapper.holds(key) for key in keys] == [True] * 3 + [False] * (len(keys) - 3)
    assert not any(mapper.holds(key) for key in mapper.page_keys(prompt, "salt"))
    mapper.apply(AllPagesCleared())
    assert not any(mapper.holds(key) for key in keys)


def test_a_block_may_be_one_page() -> None:
    mapper = BlockMapper(POOL, page_size=8)
    event = PagesStored([0, 1], None, range(16))
    assert mapper.apply(event) == said(*keys_of(16))
    assert mapper.apply(PagesRemoved([1])) == unsaid(keys_of(16)[1:])


def test_a_block_must_be_made_of_whole_pages() -> None:
    with pytest.raises(ConfigError, match="not a multiple"):
        BlockMapper(POOL, page_size=3)

"""The prefix tree by example: what the module's drawing says, and the edges of each call."""

import pytest

from preble.errors import InvariantError
from preble.prefix_tree import Match, Node, PrefixTree, holders_of

A, B, C = 0, 1, 2
ALL = 0b111


def tree_of() -> PrefixTree:
    """The tree of `preble.prefix_tree.tree`: a holds k0..k5, b k0..k3, c k0 k1 and m2 m3."""
    tree = PrefixTree()
    for holder in (A, B, C):
        tree.add_holder(holder)
    tree.store([10, 11, 12, 13, 14, 15], A)
    tree.store([10, 11, 12, 13, 14, 15], B)
    tree.store([10, 11, 22, 23], C)
    tree.remove([15, 14], B)
    return tree


def held(match: Match) -> dict[int, int]:
    return {holder: depth for depth, mask in match.held for holder in holders_of(mask)}


def place(tree: PrefixTree, keys: list[int], holder: int) -> Node:
    """A request of the window."""
    leaf = tree.insert(keys, tree.match(keys, ALL))
    assert leaf
    tree.hit(leaf, holder)
    return leaf


def test_the_deepest_known_block_and_who_holds_how_much() -> None:
    match = tree_of().match([10, 11, 12, 13, 14, 95], ALL)
    assert match.depth == 5
    assert match.held == [(5, 1 << A), (4, 1 << B), (2, 1 << C)]


def test_only_those_asked_about_are_named() -> None:
    tree = tree_of()
    assert held(tree.match([10, 11, 22], 1 << B | 1 << C)) == {C: 3, B: 2}
    assert tree.match([10, 11], 0).held == []


@pytest.mark.parametrize("keys", [[], [99], [11, 12]])
def test_of_an_unknown_prompt_nobody_holds_anything(keys: list[int]) -> None:
    match = tree_of().match(keys, ALL)
    assert (match.depth, match.held) == (0, [(0, ALL)])


def test_a_run_is_one_node_until_prompts_part() -> None:
    tree = PrefixTree()
    tree.add_holder(A)
    tree.store(list(range(1, 101)), A)
    assert [len(node.keys) for node in tree.nodes()] == [100]
    tree.store([*range(1, 41), 777], A)
    assert [(node.start, len(node.keys)) for node in tree.nodes()] == [(0, 40), (40, 60), (40, 1)]


def test_partial_holding_splits_nothing() -> None:
    tree = tree_of()
    deep = next(node for node in tree.nodes() if node.start == 2)
    assert [deep.held_blocks(holder) for holder in (A, B, C)] == [4, 2, 0]
    assert len(list(tree.nodes())) == 3


def test_a_stored_run_that_goes_on_grows_its_node() -> None:
    """Engines tell a long prompt in pieces."""
    tree = PrefixTree()
    tree.add_holder(A)
    for first in range(1, 100, 10):
        parent_key = first - 1 if first > 1 else None
        assert tree.store(list(range(first, first + 10)), A, parent_key=parent_key)
    assert [len(node.keys) for node in tree.nodes()] == [100]
    assert tree.held_blocks[A] == 100


def test_a_run_after_an_unknown_block_changes_nothing() -> None:
    tree = tree_of()
    assert not tree.store([50, 51], A, parent_key=49)
    assert len(tree) == 8
    assert tree.held_blocks == [6, 4, 4]


def test_storing_a_deep_block_holds_all_before_it() -> None:
    tree = tree_of()
    assert tree.store([15], C, parent_key=14)
    assert held(tree.match([10, 11, 12, 13, 14, 15], ALL))[C] == 6
    assert tree.held_blocks[C] == 8


def test_removing_a_block_removes_what_follows_it() -> None:
    tree = tree_of()
    tree.remove([11], A)
    assert tree.held_blocks == [1, 4, 4]
    assert len(tree) == 6  # nobody holds k4 and k5 now
    tree.check_invariants()


def test_a_leaf_stays_the_end_of_its_prompt_whatever_splits_it() -> None:
    tree = tree_of()
    leaf = place(tree, [10, 11, 12, 13, 14, 15], A)
    place(tree, [10, 11, 12, 90], B)
    assert (leaf.start + len(leaf.keys), leaf.keys[-1]) == (6, 15)
    tree.unhit(leaf, A)
    tree.check_invariants()


def test_what_is_expected_is_matched_and_is_not_resident() -> None:
    tree = tree_of()
    keys = [10, 11, 22, 23, 24]
    leaf = tree.insert(keys, tree.match(keys, ALL))
    assert leaf
    tree.expect(leaf, B)
    match = tree.match(keys, ALL)
    assert held(match) == {B: 5, C: 4, A: 2}
    assert [tree.resident_depth(match, holder) for holder in (A, B, C)] == [2, 2, 4]
    tree.unexpect(leaf, B)
    assert held(tree.match(keys, ALL)) == {C: 4, A: 2, B: 2}
    assert len(tree) == 8


def test_hot_blocks_are_those_held_that_a_request_placed_there_went_through() -> None:
    tree = tree_of()
    leaf = place(tree, [10, 11, 12, 13, 14, 15], B)
    assert tree.hot_blocks == [0, 4, 0]
    tree.remove([13], B)
    assert tree.hot_blocks == [0, 3, 0]
    tree.unhit(leaf, B)
    assert tree.hot_blocks == [0, 0, 0]


def test_victims_are_least_recently_used_leaves_first() -> None:
    """a's requests: k0..k5, then k0 k1 m2 m3 (not held past k1), then k0..k5's first half."""
    tree = tree_of()
    prompts = ([10, 11, 12, 13, 14, 15], [10, 11, 22, 23], [10, 11, 12, 13])
    leaves = [place(tree, keys, A) for keys in prompts]
    victims = [(each.node.start, each.blocks, each.hits) for each in tree.victims(A, leaves)]
    assert victims == [(4, 2, 1), (2, 2, 2), (0, 2, 3)]


def test_clearing_leaves_the_others() -> None:
    tree = tree_of()
    tree.clear(A)
    assert tree.held_blocks == [0, 4, 4]
    assert tree.cached_blocks == len(tree) == 6
    for holder in (B, C):
        tree.clear(holder)
    assert len(tree) == 0
    assert list(tree.nodes()) == []


def test_a_broken_tree_is_noticed() -> None:
    tree = tree_of()
    tree.held_blocks[A] += 1
    with pytest.raises(InvariantError, match="counted wrongly"):
        tree.check_invariants()

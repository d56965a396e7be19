"""Keys that do not name their prefix: a 64-bit collision, or a client that found one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from preble.prefix_tree import Node, PrefixTree

KEYS = st.lists(st.integers(0, 9), min_size=1, max_size=6)
HOLDERS = 3
STEPS = st.lists(
    st.tuples(st.sampled_from(["store", "remove", "place", "end", "clear"]), KEYS,
              st.integers(0, HOLDERS - 1), st.none() | st.integers(0, 9)),
    max_size=40,
)  # fmt: skip


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_keys_that_contradict_each_other_never_break_the_tree(
    steps: list[tuple[str, list[int], int, int | None]],
) -> None:
    tree = PrefixTree()
    tree.add_holder(HOLDERS - 1)
    placed: list[tuple[Node, int]] = []
    for step, keys, holder, parent_key in steps:
        match step:
            case "store":
                tree.store(keys, holder, parent_key=parent_key)
            case "remove":
                tree.remove(keys, holder)
            case "place":
                match_ = tree.match(keys, (1 << HOLDERS) - 1)
                assert all(0 <= depth <= len(keys) for depth, _ in match_.held)
                leaf = tree.insert(keys, match_)
                if leaf is not None:
                    tree.hit(leaf, holder)
                    tree.expect(leaf, holder)
                    placed.append((leaf, holder))
            case "end" if placed:
                leaf, where = placed.pop(0)
                tree.unexpect(leaf, where)
                tree.unhit(leaf, where)
            case _:
                tree.clear(holder)
        tree.check_invariants()


def test_a_prompt_with_the_key_of_another_prefix_has_no_place() -> None:
    tree = PrefixTree()
    tree.add_holder(0)
    assert tree.store([1, 2, 3], 0)
    match = tree.match([4, 3], 1)
    assert match.held == [(0, 1)]
    assert tree.insert([4, 3], match) is None
    assert not tree.store([5, 2], 0)
    assert not tree.store([7, 7], 0)
    assert len(tree) == 3

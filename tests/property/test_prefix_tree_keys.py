"""Block keys that contradict each other, as hash collisions would, do the prefix tree no harm."""

from hypothesis import given
from hypothesis import strategies as st

from preble.prefix_tree import Node, PrefixTree

HOLDERS = 3
EVERYBODY = (1 << HOLDERS) - 1

keys_drawn = st.integers(1, 8)
acts = st.tuples(
    st.sampled_from(["store", "store", "remove", "place", "place", "unplace"]),
    st.integers(0, HOLDERS - 1),
    st.lists(keys_drawn, min_size=1, max_size=5),
    st.none() | keys_drawn,
)


@given(st.lists(acts, max_size=40))
def test_keys_in_any_order_leave_a_sound_tree(
    told: list[tuple[str, int, list[int], int | None]],
) -> None:
    """A key may come behind another one than before, or twice in a run."""
    tree = PrefixTree()
    for holder in range(HOLDERS):
        tree.add_holder(holder)
    placed: list[tuple[Node, int]] = []
    for what, holder, keys, parent_key in told:
        if what == "store":
            tree.store(keys, holder, parent_key=parent_key)
        elif what == "remove":
            tree.remove(keys, holder)
        elif what == "place":
            leaf = tree.insert(keys, tree.match(keys, EVERYBODY))
            if leaf is not None:
                tree.hit(leaf, holder)
                placed.append((leaf, holder))
        elif placed:
            tree.unhit(*placed.pop(0))
        tree.check_invariants()
    for leaf, holder in placed:
        tree.unhit(leaf, holder)
    for holder in range(HOLDERS):
        tree.clear(holder)
    assert len(tree) == 0

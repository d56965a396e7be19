"""The prefix tree as text and as structs."""

import msgspec

from preble.prefix_tree import PrefixTree, Selection, draw, render

NAMES = {0: "gpu0", 1: "gpu1"}


def tree_of() -> PrefixTree:
    """4 blocks, of which gpu1 holds 3; behind them 2 that a request wants and a job computes."""
    tree = PrefixTree()
    for holder in NAMES:
        tree.add_holder(holder)
        tree.store([1, 2, 3, 4], holder)
    tree.remove([4], 1)
    keys = [1, 2, 3, 4, 5, 6]
    leaf = tree.insert(keys, tree.match(keys, 0b11))
    assert leaf
    tree.hit(leaf, 0)
    tree.expect(leaf, 0)
    tree.store([9], 1)
    return tree


def test_a_line_for_each_node_those_with_most_hits_first() -> None:
    assert render(draw(tree_of(), NAMES)).splitlines() == [
        "4 blocks  gpu0 gpu1:3  hits 1  expected 1",
        "  2 blocks  held by none  hits 1  expected 1",
        "1 blocks  gpu1",
    ]


def test_programs_get_the_same() -> None:
    drawing = draw(tree_of(), NAMES)
    first, child, second = drawing.nodes
    assert (first.first_key, first.start_blocks, first.blocks) == ("0000000000000001", 0, 4)
    assert first.held_blocks == {"gpu0": 4, "gpu1": 3}
    assert (first.depth, child.depth, second.depth) == (0, 1, 0)
    assert (child.start_blocks, child.hits, child.expected_jobs) == (4, {"gpu0": 1}, {"gpu0": 1})
    assert second.held_blocks == {"gpu1": 1}
    assert msgspec.json.decode(msgspec.json.encode(drawing))["nodes"][0]["blocks"] == 4


def test_the_hottest_are_drawn_and_the_others_counted() -> None:
    drawing = draw(tree_of(), NAMES, Selection(max_nodes=2))
    first, second = drawing.nodes
    assert (first.blocks, second.blocks, second.depth) == (4, 2, 1)
    assert (first.omitted_nodes, second.omitted_nodes, drawing.omitted_nodes) == (0, 0, 1)
    assert render(drawing).splitlines()[-1] == "… 1 more nodes"


def test_what_is_omitted_behind_a_node_is_counted_there() -> None:
    drawing = draw(tree_of(), NAMES, Selection(max_nodes=1))
    assert [node.omitted_nodes for node in drawing.nodes] == [1]
    assert drawing.omitted_nodes == 1
    assert "  … 1 more nodes" in render(drawing).splitlines()


def test_no_deeper_than_asked() -> None:
    drawing = draw(tree_of(), NAMES, Selection(max_depth=1))
    assert [node.depth for node in drawing.nodes] == [0, 0]


def test_what_has_fewer_blocks_in_and_behind_it_is_left_out() -> None:
    drawing = draw(tree_of(), NAMES, Selection(min_cached_blocks=2))
    assert [node.blocks for node in drawing.nodes] == [4]


def test_of_one_holder_only_its_blocks_count() -> None:
    drawing = draw(tree_of(), NAMES, Selection(holder=1))
    assert [(node.blocks, node.cached_blocks) for node in drawing.nodes] == [(4, 3), (1, 1)]
    assert drawing.cached_blocks == 4
    assert [node.blocks for node in draw(tree_of(), NAMES, Selection(holder=0)).nodes] == [4]


def test_blocks_behind_a_node_count_for_it_and_each_instance_s_are_summed() -> None:
    tree = tree_of()
    tree.store([1, 2, 3, 4, 5, 6], 0)
    drawing = draw(tree, NAMES)
    assert drawing.nodes[0].cached_blocks == 6
    assert drawing.cached_blocks == 7
    assert drawing.held_blocks == {"gpu0": 6, "gpu1": 4}


def test_an_empty_tree_is_drawn_as_nothing() -> None:
    assert render(draw(PrefixTree(), NAMES)) == ""


def test_a_long_conversation_can_be_drawn() -> None:
    """Each turn ends in the middle of what is stored: a node for each of 900 turns."""
    tree = PrefixTree()
    tree.add_holder(0)
    keys = list(range(1, 901))
    tree.store(keys, 0)
    for turn in range(1, 901):
        leaf = tree.insert(keys[:turn], tree.match(keys[:turn], 1))
        assert leaf
        tree.hit(leaf, 0)
    drawing = draw(tree, NAMES)
    assert len(render(drawing).splitlines()) == 900
    assert msgspec.json.encode(drawing)

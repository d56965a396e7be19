"""What must hold of a prefix tree between calls."""

from collections.abc import Iterator

from preble.prefix_tree.matching import holders_of
from preble.prefix_tree.node import Node
from preble.prefix_tree.runs import Runs


def violations_in(runs: Runs) -> Iterator[str]:
    """What is wrong with a tree, in words. Cost: O(tree)."""
    num_keys = 0
    held, hot, pinned = ([0] * len(runs.held_blocks) for _ in range(3))
    for node in runs.nodes():
        num_keys += len(node.keys)
        yield from _violations_of(node)
        if any(runs.keys.find(key) is not node for key in node.keys):
            yield "a key leads to another node"
        for holder in holders_of(node.holders):
            held[holder] += node.held_blocks(holder)
            hot[holder] += node.held_blocks(holder) if holder in node.hits else 0
        for holder in node.pins:
            pinned[holder] += len(node.keys)
    if num_keys != len(runs):
        yield "the table of keys and the runs differ"
    if (held, hot, pinned) != (runs.held_blocks, runs.hot_blocks, runs.pinned_blocks):
        yield "blocks held, hot or pinned are counted wrongly"


def _violations_of(node: Node) -> Iterator[str]:
    parent = node.parent
    if parent is None or parent.children.get(node.keys[0]) is not node:
        yield "a node is not its parent's child"
        return
    if node.start != parent.start + len(parent.keys):
        yield "a run does not begin where its parent ends"
    if parent.parent is not None:
        yield from _violations_between(parent, node)
    if not all(0 < held < len(node.keys) for held in node.part.values()):
        yield "a part is none or all"
    counted = (node.hits, node.pins, node.expected)
    if node.waiting < 0 or not all(count > 0 for counts in counted for count in counts.values()):
        yield "a count of zero was kept"
    if set(holders_of(node.expecting)) != set(node.expected):
        yield "the mask of who expects and the counts differ"
    if not node.is_wanted and node.most_held_blocks < len(node.keys):
        yield "blocks that nothing keeps were kept"


def _violations_between(parent: Node, node: Node) -> Iterator[str]:
    holders = set(holders_of(node.holders))
    if node.holders & ~parent.holders or holders & set(parent.part):
        yield "a block is held without the one before it"
    if set(node.part) - holders:
        yield "who holds a part is not a holder"
    if node.expecting & ~parent.expecting:
        yield "a block is expected without the one before it"

"""What must hold of each node of a prefix tree between calls."""

from collections.abc import Iterator

from preble.prefix_tree.matching import holders_of
from preble.prefix_tree.node import Node


def violations_of(node: Node) -> Iterator[str]:
    """What is wrong with a node, in words."""
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
    if not all(count > 0 for counts in (node.hits, node.expected) for count in counts.values()):
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

"""The prefix tree for people and for programs: as text, and as structs that become JSON.

    12 blocks  gpu0 gpu1:5  hits 7
      3 blocks  gpu0  hits 2  expected 1
    … 4 more nodes

`gpu1:5` holds the first 5 of the 12; hits are requests in the window. Nodes are a list, each
after the one it follows, with its depth: a long conversation is deep, and JSON must not be.
"""

from collections.abc import Mapping

import msgspec

from preble.prefix_tree.matching import holders_of
from preble.prefix_tree.node import Node
from preble.prefix_tree.tree import PrefixTree


class DrawnNode(msgspec.Struct, frozen=True):
    """One node."""

    depth: int
    """Nodes before it."""
    first_key: str
    """The run's first block key, in hexadecimal."""
    start_blocks: int
    blocks: int
    held_blocks: dict[str, int]
    hits: dict[str, int]
    expected_jobs: dict[str, int]
    omitted_nodes: int
    """Nodes that follow it directly and are not drawn, with all that follow them."""


class Drawing(msgspec.Struct, frozen=True):
    """A tree, or the first nodes of it."""

    nodes: tuple[DrawnNode, ...]
    omitted_nodes: int
    """Of those that begin a prompt, as above."""


def draw(tree: PrefixTree, names: Mapping[int, str], *, max_nodes: int = 1_000) -> Drawing:
    """The nodes nearest to the root; of siblings those with most hits, then blocks, first.

    Args:
        tree: What to draw.
        names: Of the holders.
        max_nodes: Most nodes drawn; what is omitted is counted.

    Cost: O(nodes log nodes).
    """
    drawn = _drawn(tree, max_nodes)
    nodes: list[DrawnNode] = []
    stack = [(child, 0) for child in reversed(_ordered(tree.root)) if child in drawn]
    while stack:
        node, depth = stack.pop()
        nodes.append(_draw(node, depth, names, drawn))
        stack += [(child, depth + 1) for child in reversed(_ordered(node)) if child in drawn]
    return Drawing(tuple(nodes), _omitted(tree.root, drawn))


def render(drawing: Drawing) -> str:
    """The same as text, a line for each node."""
    lines: list[str] = []
    for node in drawing.nodes:
        lines.append("  " * node.depth + _line(node))
        if node.omitted_nodes:
            lines.append("  " * (node.depth + 1) + f"… {node.omitted_nodes} more nodes")
    if drawing.omitted_nodes:
        lines.append(f"… {drawing.omitted_nodes} more nodes")
    return "\n".join(lines)


def _drawn(tree: PrefixTree, max_nodes: int) -> set[Node]:
    """The first nodes, level by level: a node is drawn only below its parent."""
    drawn: set[Node] = set()
    level = [tree.root]
    while level and len(drawn) < max_nodes:
        level = [child for node in level for child in _ordered(node)][: max_nodes - len(drawn)]
        drawn.update(level)
    return drawn


def _ordered(node: Node) -> list[Node]:
    def weight(child: Node) -> tuple[int, int]:
        return -sum(child.hits.values()), -len(child.keys)

    return sorted(node.children.values(), key=weight)


def _draw(node: Node, depth: int, names: Mapping[int, str], drawn: set[Node]) -> DrawnNode:
    return DrawnNode(
        depth=depth,
        first_key=f"{node.keys[0]:016x}",
        start_blocks=node.start,
        blocks=len(node.keys),
        held_blocks={names[each]: node.held_blocks(each) for each in holders_of(node.holders)},
        hits={names[each]: hits for each, hits in sorted(node.hits.items())},
        expected_jobs={names[each]: jobs for each, jobs in sorted(node.expected.items())},
        omitted_nodes=_omitted(node, drawn),
    )


def _omitted(node: Node, drawn: set[Node]) -> int:
    """Nodes behind those children that are not drawn, themselves included."""
    stack = [child for child in node.children.values() if child not in drawn]
    size = 0
    while stack:
        size += 1
        stack += stack.pop().children.values()
    return size


def _line(node: DrawnNode) -> str:
    holders = [
        name if held == node.blocks else f"{name}:{held}" for name, held in node.held_blocks.items()
    ]
    parts = [f"{node.blocks} blocks", " ".join(holders) or "held by none"]
    if node.hits:
        parts.append(f"hits {sum(node.hits.values())}")
    if node.expected_jobs:
        parts.append(f"expected {sum(node.expected_jobs.values())}")
    return "  ".join(parts)

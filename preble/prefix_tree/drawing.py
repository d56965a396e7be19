"""The prefix tree for people and for programs: as text, and as structs that become JSON.

    ├─ 12 blocks  gpu0 gpu1:5  hits 7
    │  └─ 3 blocks  gpu0  hits 2  expected 1

`gpu1:5` holds the first 5 of the 12; hits are requests in the window.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from preble.prefix_tree.matching import holders_of
from preble.prefix_tree.node import Node
from preble.prefix_tree.tree import PrefixTree


class Drawing(msgspec.Struct, frozen=True):
    """One node and what follows it, with instances by name."""

    first_key: str
    """The run's first block key, in hexadecimal."""
    start_blocks: int
    blocks: int
    held_blocks: dict[str, int]
    hits: dict[str, int]
    expected_jobs: dict[str, int]
    children: tuple["Drawing", ...] = ()
    omitted_nodes: int = 0
    """Nodes that follow and are not drawn."""


def draw(
    tree: PrefixTree, names: Mapping[int, str], *, max_nodes: int = 1_000
) -> tuple[Drawing, ...]:
    """The trees below the root, those with most hits and blocks first.

    Args:
        tree: What to draw.
        names: Of the holders.
        max_nodes: Most nodes drawn; what is omitted is counted.

    Cost: O(nodes log nodes).
    """
    drawn = _drawn(tree, max_nodes)
    return tuple(_draw(node, names, drawn) for node in _ordered(tree.root) if node in drawn)


def render(drawings: Sequence[Drawing]) -> str:
    """The same as text, a line for each node."""
    return "\n".join(_lines(drawings, ""))


def _drawn(tree: PrefixTree, max_nodes: int) -> set[Node]:
    """The first nodes, level by level: a node is drawn only below its parent."""
    drawn: dict[Node, None] = {}
    level = [tree.root]
    while level:
        level = [child for node in level for child in _ordered(node)]
        for node in level[: max_nodes - len(drawn)]:
            drawn[node] = None
        if len(drawn) >= max_nodes:
            break
    return set(drawn)


def _ordered(node: Node) -> list[Node]:
    def weight(child: Node) -> tuple[int, int]:
        return -sum(child.hits.values()), -len(child.keys)

    return sorted(node.children.values(), key=weight)


def _draw(node: Node, names: Mapping[int, str], drawn: set[Node]) -> Drawing:
    children = [child for child in _ordered(node) if child in drawn]
    return Drawing(
        first_key=f"{node.keys[0]:016x}",
        start_blocks=node.start,
        blocks=len(node.keys),
        held_blocks={names[each]: node.held_blocks(each) for each in holders_of(node.holders)},
        hits={names[each]: hits for each, hits in sorted(node.hits.items())},
        expected_jobs={names[each]: jobs for each, jobs in sorted(node.expected.items())},
        children=tuple(_draw(child, names, drawn) for child in children),
        omitted_nodes=sum(_size(child) for child in node.children.values() if child not in drawn),
    )


def _size(node: Node) -> int:
    """Nodes from here on."""
    stack, size = [node], 0
    while stack:
        each = stack.pop()
        size += 1
        stack += each.children.values()
    return size


def _lines(drawings: Sequence[Drawing], indent: str) -> Iterator[str]:
    for number, drawing in enumerate(drawings, start=1):
        is_last = number == len(drawings)
        yield f"{indent}{'└─' if is_last else '├─'} {_line(drawing)}"
        below = indent + ("   " if is_last else "│  ")
        yield from _lines(drawing.children, below)
        if drawing.omitted_nodes:
            yield f"{below}… {drawing.omitted_nodes} more nodes"


def _line(drawing: Drawing) -> str:
    holders = [
        name if held == drawing.blocks else f"{name}:{held}"
        for name, held in drawing.held_blocks.items()
    ]
    parts = [f"{drawing.blocks} blocks", " ".join(holders) or "held by none"]
    if drawing.hits:
        parts.append(f"hits {sum(drawing.hits.values())}")
    if drawing.expected_jobs:
        parts.append(f"expected {sum(drawing.expected_jobs.values())}")
    return "  ".join(parts)

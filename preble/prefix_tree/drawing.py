"""The prefix tree for people and for programs: as text, and as structs that become JSON.

    12 blocks  gpu0 gpu1:5  hits 7
      3 blocks  gpu0  hits 2  expected 1
    … 4 more nodes

`gpu1:5` holds the first 5 of the 12; hits are requests in the window. Nodes are a list, each
after the one it follows, with its depth: a long conversation is deep, and JSON must not be.
"""

from collections.abc import Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final

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
    cached_blocks: int
    """Distinct blocks that are held, of its run and of all that follows it."""
    omitted_nodes: int
    """Nodes that follow it directly and are not drawn, with all that follow them."""


class Drawing(msgspec.Struct, frozen=True):
    """A tree, or the first nodes of it."""

    nodes: tuple[DrawnNode, ...]
    cached_blocks: int
    """Distinct blocks that are held in the whole tree."""
    held_blocks: dict[str, int]
    """In the whole tree, for each instance."""
    omitted_nodes: int
    """Of those that begin a prompt, as above."""


class Selection(msgspec.Struct, frozen=True):
    """What to draw of a tree."""

    max_nodes: int = 1_000
    max_depth: int | None = None
    """Nodes on the way from the root, at most; None for any number."""
    min_cached_blocks: int = 0
    """Nodes with fewer in and behind them are left out."""
    holder: int | None = None
    """Only what it holds, and only its blocks count; None for all."""


EVERYTHING: Final = Selection()
"""As far as it is not too much."""


def draw(tree: PrefixTree, names: Mapping[int, str], selection: Selection = EVERYTHING) -> Drawing:
    """The hottest nodes, each after the one it follows.

    Hotter is what has more hits, then what has more blocks cached in and behind it.

    Args:
        tree: What to draw.
        names: Of the holders.
        selection: What of it; what is omitted is counted.

    Cost: O(nodes + drawn nodes · log nodes).
    """
    sketch = _Sketch(tree, names, selection)
    nodes: list[DrawnNode] = []
    stack = [(child, 0) for child in reversed(sketch.drawn_behind(tree.root))]
    while stack:
        node, depth = stack.pop()
        nodes.append(sketch.draw(node, depth))
        stack += [(child, depth + 1) for child in reversed(sketch.drawn_behind(node))]
    return Drawing(
        tuple(nodes), sketch.cached_blocks[tree.root], _held_blocks(sketch.cached_blocks, names),
        sketch.omitted(tree.root),
    )  # fmt: skip


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


class _Sketch:
    """Which nodes are drawn, and what is said of them."""

    def __init__(self, tree: PrefixTree, names: Mapping[int, str], selection: Selection) -> None:
        self._names = names
        self._selection = selection
        self.cached_blocks = _cached_blocks(tree.root, selection.holder)
        self._drawn = set(self._hottest(tree.root))

    def _hottest(self, root: Node) -> Iterator[Node]:
        """A node comes only after its parent."""
        ties = count()
        heap = [(self._heat(child), next(ties), child, 1) for child in self._eligible(root)]
        heapify(heap)
        for _ in range(self._selection.max_nodes):
            if not heap:
                return
            _, _, node, depth = heappop(heap)
            yield node
            if self._selection.max_depth is None or depth < self._selection.max_depth:
                for child in self._eligible(node):
                    heappush(heap, (self._heat(child), next(ties), child, depth + 1))

    def _eligible(self, node: Node) -> list[Node]:
        chosen = self._selection
        return [
            child
            for child in node.children.values()
            if self.cached_blocks[child] >= chosen.min_cached_blocks
            and (chosen.holder is None or child.holders >> chosen.holder & 1)
        ]

    def _heat(self, node: Node) -> tuple[int, int]:
        return -sum(node.hits.values()), -self.cached_blocks[node]

    def drawn_behind(self, node: Node) -> list[Node]:
        """The nodes that follow one directly and are drawn, the hottest first."""
        drawn = (child for child in node.children.values() if child in self._drawn)
        return sorted(drawn, key=self._heat)

    def omitted(self, node: Node) -> int:
        """Nodes behind those that follow directly and are not drawn, themselves included."""
        stack = [child for child in node.children.values() if child not in self._drawn]
        size = 0
        while stack:
            size += 1
            stack += stack.pop().children.values()
        return size

    def draw(self, node: Node, depth: int) -> DrawnNode:
        """One node."""
        names = self._names
        return DrawnNode(
            depth=depth,
            first_key=f"{node.keys[0]:016x}",
            start_blocks=node.start,
            blocks=len(node.keys),
            held_blocks={
                name: node.held_blocks(each)
                for name, each in sorted((names[each], each) for each in holders_of(node.holders))
            },
            hits={names[each]: hits for each, hits in sorted(node.hits.items())},
            expected_jobs={names[each]: jobs for each, jobs in sorted(node.expected.items())},
            cached_blocks=self.cached_blocks[node],
            omitted_nodes=self.omitted(node),
        )


def _cached_blocks(root: Node, holder: int | None) -> dict[Node, int]:
    """Of each node with all that follows it; those of one holder, or of any. Cost: O(nodes)."""
    order = [root]
    for node in order:
        order += node.children.values()
    sizes: dict[Node, int] = {}
    for node in reversed(order):
        own = node.most_held_blocks if holder is None else node.held_blocks(holder)
        sizes[node] = own + sum(sizes[child] for child in node.children.values())
    return sizes


def _held_blocks(nodes: Iterable[Node], names: Mapping[int, str]) -> dict[str, int]:
    held = dict.fromkeys(names.values(), 0)
    for node in nodes:
        for holder in holders_of(node.holders):
            held[names[holder]] += node.held_blocks(holder)
    return held


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

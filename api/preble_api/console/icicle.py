"""An icicle of cached prefixes: a row for each depth, bars as wide as what is cached there. Pure.

    ┌──────────────────────────────┐
    │ 960 tokens                   │   what all prompts begin with
    ├───────────────┬──────┬───────┘
    │ 1,472         │ 64   │           what follows it
    └───────────────┴──────┘

Of one instance only its blocks count. What is too thin to be seen is left out, and counted.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from preble.cached_prefixes import CachedPrefixes
from preble.messages import InstanceId
from preble.prefix_tree import DrawnNode

THINNEST: Final = 0.003
"""Of the whole width."""

DEEPEST: Final = 12
ROW_PX: Final = 22
_KEY_DIGITS: Final = 8
_SHADES: Final = 5


class Cell(msgspec.Struct, frozen=True):
    """A run of blocks that prompts share."""

    depth: int
    left: float
    """Of the whole width, 0..1."""
    share: float
    """Likewise: what is cached in it and behind it."""
    tokens: int
    """Its own."""
    holders: str
    jobs: int
    key: str
    shade: int
    """How many jobs on the instances have it, 0 for none to 4."""
    top: int
    """In pixels."""


class Icicle(msgspec.Struct, frozen=True):
    """What one instance holds, or all of them."""

    name: str
    tokens: int
    use: float | None
    """Of its KV cache."""
    cells: list[Cell]
    omitted: int
    """Nodes that are not drawn, as far as they are known."""
    height: int


def icicle_of_all(seen: CachedPrefixes, most_cells: int) -> Icicle:
    """What any instance holds."""
    drawing = seen.drawing
    sizes = [node.cached_blocks for node in drawing.nodes]
    tokens = drawing.cached_blocks * seen.block_size
    return _icicle(seen, "all instances", tokens, None, _Rows(sizes, drawing.nodes), most_cells)


def icicle_of(seen: CachedPrefixes, instance: str, most_cells: int) -> Icicle:
    """What one instance holds, of what was read of the tree."""
    held = [node.held_blocks.get(instance, 0) for node in seen.drawing.nodes]
    rows = _Rows(_with_what_follows(seen.drawing.nodes, held), seen.drawing.nodes)
    blocks = seen.drawing.held_blocks.get(instance, 0)
    capacity = seen.capacity_blocks[InstanceId(instance)]
    use = blocks / capacity if capacity else None
    return _icicle(seen, instance, blocks * seen.block_size, use, rows, most_cells)


class _Rows:
    """Nodes, each after the one it follows, and how much lies in and behind each."""

    def __init__(self, sizes: Sequence[int], nodes: Sequence[DrawnNode]) -> None:
        self.sizes = sizes
        self.nodes = nodes


def _with_what_follows(nodes: Sequence[DrawnNode], held: Sequence[int]) -> list[int]:
    """Of each node, its own and of all that follow it. Cost: O(nodes)."""
    sizes: list[int] = []
    waiting = [0] * (1 + len(nodes))  # by depth
    for node, own in zip(reversed(nodes), reversed(held), strict=True):
        depth = node.depth
        size = own + waiting[depth + 1]
        waiting[depth + 1] = 0
        waiting[depth] += size
        sizes.append(size)
    sizes.reverse()
    return sizes


def _icicle(
    seen: CachedPrefixes, name: str, tokens: int, use: float | None, rows: _Rows, most_cells: int
) -> Icicle:
    # Not by what was read of it: what was left out there has its place, too.
    whole = max(tokens // seen.block_size, 1)
    places = _places(rows, whole)
    largest = sorted(places, key=lambda index: -rows.sizes[index])[:most_cells]
    cells = [
        _cell(seen, rows.nodes[index], rows.sizes[index] / whole, places[index])
        for index in sorted(largest)
    ]
    omitted = len(rows.sizes) - rows.sizes.count(0) - len(cells)
    height = ROW_PX * (1 + max((cell.depth for cell in cells), default=0))
    return Icicle(name, tokens, use, cells, omitted, height)


def _places(rows: _Rows, whole: int) -> dict[int, float]:
    """Left edges of the nodes that are to be seen, by index."""
    places: dict[int, float] = {}
    next_left: list[float] = [0.0]
    for index, (node, size) in enumerate(zip(rows.nodes, rows.sizes, strict=True)):
        if not size:
            continue  # nor has what follows it any
        depth, share = node.depth, size / whole
        del next_left[depth + 1 :]
        left = next_left[depth]
        next_left[depth] = left + share
        next_left.append(left)
        if share >= THINNEST and depth < DEEPEST:
            places[index] = left
    return places


def _cell(seen: CachedPrefixes, node: DrawnNode, share: float, left: float) -> Cell:
    jobs = sum(node.hits.values())
    return Cell(
        node.depth, left, share, node.blocks * seen.block_size, _holders(node), jobs,
        node.first_key[:_KEY_DIGITS], min(jobs.bit_length(), _SHADES - 1), node.depth * ROW_PX,
    )  # fmt: skip


def _holders(node: DrawnNode) -> str:
    names = list(node.held_blocks)
    most = 4
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "none"

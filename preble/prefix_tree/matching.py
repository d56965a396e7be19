"""Who holds how much of a prompt: read from its deepest known block towards the root."""

from collections.abc import Iterator

import msgspec

from preble.prefix_tree.node import Node


class Match(msgspec.Struct, gc=False):
    """How far a prompt is known, and who holds how much of it. Valid until the tree changes."""

    node: Node
    """Where the deepest known block lies; the root if none is known."""
    depth: int
    """Known blocks."""
    held: list[tuple[int, int]]
    """Blocks held or expected and the mask of the instances that do, deepest first."""


def holders_of(mask: int) -> Iterator[int]:
    """Numbers in a mask, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def held_above(node: Node, depth: int, holders: int) -> list[tuple[int, int]]:
    """Walk to the root: whom a node is the first to know, it knows deepest."""
    held: list[tuple[int, int]] = []
    while holders and node.parent is not None:
        if here := (node.holders | node.expecting) & holders:
            holders &= ~here
            held += _held_parts(node, depth, here) if node.part else ((depth, here),)
        depth, node = node.start, node.parent
    if holders:
        held.append((0, holders))
    return held


def _held_parts(node: Node, depth: int, here: int) -> list[tuple[int, int]]:
    """The same for one node of which some instances hold only the first blocks."""
    parts: list[tuple[int, int]] = []
    for holder, blocks in node.part.items():
        bit, end = 1 << holder, node.start + blocks
        if here & bit & ~node.expecting and end < depth:
            here &= ~bit
            parts.append((end, bit))
    parts.sort(reverse=True)
    return [(depth, here), *parts] if here else parts

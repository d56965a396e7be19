"""From a block key to the node whose run it is in.

A split leaves the table as it is: keys of the upper half still lead to the lower half, which
kept the node. From there the way up leads to the right node, and the entry is put right when
it is asked for. So a split costs no look-ups, and an outdated entry no more than its depth.
"""

from collections.abc import Iterable, Sequence

from preble.errors import InvariantError
from preble.prefix_tree.node import Node


class KeyTable:
    """All keys of a tree. Whoever has a block in it has all blocks before it, too."""

    def __init__(self) -> None:
        self._nodes: dict[int, Node] = {}

    def __len__(self) -> int:
        """Keys."""
        return len(self._nodes)

    def add(self, keys: Sequence[int], node: Node) -> bool:
        """These keys are in the node's run.

        Returns:
            False, and nothing has changed, if one of them is known or comes twice: two
            prefixes have the same 64-bit key.
        """
        new = dict.fromkeys(keys, node)
        if len(new) < len(keys) or not self._nodes.keys().isdisjoint(new):
            return False
        self._nodes.update(new)
        return True

    def discard(self, keys: Iterable[int]) -> None:
        """These keys are known no more."""
        for key in keys:
            del self._nodes[key]

    def num_known(self, keys: Sequence[int]) -> int:
        """How many of a prompt's keys are known: the first so many. Cost: O(log len(keys))."""
        nodes = self._nodes
        if not keys or keys[0] not in nodes:
            return 0
        if keys[-1] in nodes:
            return len(keys)
        low, high = 1, len(keys) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if keys[middle - 1] in nodes:
                low = middle
            else:
                high = middle - 1
        return low

    def at(self, key: int, depth: int) -> Node | None:
        """The node of a known key that is the `depth`-th block of its prompt.

        Returns:
            None if it is not: another prefix has the same 64-bit key.
        """
        node = entry = self._nodes[key]
        while node.start >= depth:
            node = parent_of(node)
        if depth > node.start + len(node.keys) or node.keys[depth - node.start - 1] != key:
            return None
        if node is not entry:
            self._nodes[key] = node
        return node

    def find(self, key: int) -> Node | None:
        """The node of a key whose depth is not known. Cost: O(run), where it does not end one."""
        entry = self._nodes.get(key)
        if entry is None:
            return None
        node = entry
        while not (node.keys and node.keys[-1] == key) and key not in node.keys:
            node = parent_of(node)
        if node is not entry:
            self._nodes[key] = node
        return node


def parent_of(node: Node) -> Node:
    """Of a node that has one: any but the root. Raises: InvariantError."""
    if node.parent is None:
        msg = "prefix tree: a known block has no place"
        raise InvariantError(msg)
    return node.parent

"""Which instance holds which runs: what its block events say, folded.

An instance holds a prompt's blocks from the first one on, and engines evict from the end; so
who holds a block holds all before it, and who loses a block loses all that follow it.
"""

from array import array
from collections.abc import Sequence

from preble.prefix_tree.node import NONE, Keys, Node
from preble.prefix_tree.runs import Runs


class HeldRuns(Runs):
    """Runs, and the instances that hold them."""

    def store(self, keys: Sequence[int], holder: int, *, parent_key: int | None = None) -> bool:
        """An instance holds these blocks now, and so all before them. Twice does no harm.

        Args:
            keys: A run, each block following the one before it; not empty.
            holder: The instance.
            parent_key: The block that the run follows; None if it begins a prompt.

        Returns:
            False if the run follows an unknown block, or has a key of another prefix: it is
            left out.

        Changes: splits at most one node, adds at most one.
        Cost: O(len(keys) + nodes on the path not held before).
        """
        node, end = self.root, 0
        if parent_key is not None:
            parent = self.keys.find(parent_key)
            if parent is None:
                return False
            node, end = parent, _end_in(parent, parent_key, parent.held_blocks(holder))
        if known := self.keys.num_known(keys):
            depth = node.start + end + known
            deepest = self.keys.at(keys[known - 1], depth)
            if deepest is None:
                return False
            node, end = deepest, depth - deepest.start
        self._hold_path(node, end, holder)
        return known == len(keys) or self._extend(node, end, array("Q", keys[known:]), holder)

    def remove(self, keys: Sequence[int], holder: int) -> None:
        """An instance has evicted these blocks, and so all that follow them.

        Args:
            keys: Deepest first, as engines evict; those not held are skipped.
            holder: The instance.

        Cost: O(len(keys)) in that order.
        """
        at = 0
        while at < len(keys):
            node = self.keys.find(keys[at])
            held = node.held_blocks(holder) if node else 0
            at += 1
            if node is None or not held:
                continue
            left = _end_in(node, keys[at - 1], held) - 1
            if left >= held:
                continue
            run = node.keys
            while left and at < len(keys) and run[left - 1] == keys[at]:
                left -= 1
                at += 1
            self._drop(node, holder, left)

    def clear(self, holder: int) -> None:
        """An instance holds nothing any more. Cost: O(nodes held and their siblings)."""
        for child in list(self.root.children.values()):
            self._drop(child, holder, 0)

    # Helpers.

    def _extend(self, node: Node, end: int, keys: Keys, holder: int) -> bool:
        """Blocks that follow block `end` of a node which the instance holds as far as there."""
        if end < len(node.keys):
            node = self._split(node, end)
        is_alone = node.holders == 1 << holder and not node.is_wanted
        if is_alone:
            if not self.keys.add(keys, node):
                return False
            node.keys += keys
            self._count(node, holder, len(keys))
            return True
        child = self._attach(node, keys)
        if child is not None:
            self._hold(child, holder, len(keys))
        return child is not None

    def _hold_path(self, node: Node, end: int, holder: int) -> None:
        while node.parent is not None and node.held_blocks(holder) < end:
            self._hold(node, holder, end)
            node = node.parent
            end = len(node.keys)

    def _hold(self, node: Node, holder: int, blocks: int) -> None:
        """The instance holds so many blocks of the run: more than before."""
        added = blocks - node.held_blocks(holder)
        node.holders |= 1 << holder
        if blocks < len(node.keys):
            if node.part is NONE:
                node.part = {}
            node.part[holder] = blocks
        elif node.part:
            node.part.pop(holder, None)
        self._count(node, holder, added)

    def _drop(self, node: Node, holder: int, blocks: int) -> None:
        """The instance holds only so many blocks of the run, and nothing that follows it."""
        bit, stack = 1 << holder, [(node, blocks)]
        dropped: list[Node] = []
        while stack:
            each, left = stack.pop()
            if not each.holders & bit:
                continue
            stack += [(child, 0) for child in each.children.values() if child.holders & bit]
            self._shrink(each, holder, left)
            dropped.append(each)
        for each in reversed(dropped):
            if each.keys:  # else it fell with its last child
                self._trim(each)

    def _shrink(self, node: Node, holder: int, blocks: int) -> None:
        self._count(node, holder, blocks - node.held_blocks(holder))
        if blocks:
            if node.part is NONE:
                node.part = {}
            node.part[holder] = blocks
        else:
            node.holders &= ~(1 << holder)
            if node.part:
                node.part.pop(holder, None)

    def _count(self, node: Node, holder: int, added: int) -> None:
        self.held_blocks[holder] += added
        self._changes[holder] += 1
        if holder in node.hits:
            self.hot_blocks[holder] += added


def _end_in(node: Node, key: int, likely: int) -> int:
    """Blocks of the run up to this one; most often all, or `likely`."""
    run = node.keys
    if run[-1] == key:
        return len(run)
    if likely and run[likely - 1] == key:
        return likely
    return run.index(key) + 1

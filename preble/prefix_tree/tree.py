"""The prefix tree: runs of block keys, and which instance holds which.

A block key names its whole prefix (see `block_keys`), so one table key → node finds any
place in the tree, and the deepest known block of a prompt is found by bisection; what each
instance holds is read on the way from there to the root:

    prompt      k0 k1 k2 k3 k4 x5                 k4 is the deepest key in the table

    root ── [k0 k1] ─┬─ [k2 k3 k4 k5]    a: all, b: 2      a holds 5 blocks of the prompt,
              a b c  └─ [m2 m3]          c: all            b holds 4, c holds 2

Two kinds of holding are kept apart:

- *resident*: the instance's own events said so, exactly;
- *expected*: a job was placed there and has not computed its blocks yet, so that a burst
  with one prefix lands together.

A node lives while an instance holds it, a job that waits or runs has it in its prompt, a
request in the window went through it, or another node follows it; so memory is bounded by the
KV caches, the queue and the window. Instances are numbered *holders*; sets of them are bit masks.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from preble.errors import InvariantError
from preble.prefix_tree.held_runs import HeldRuns
from preble.prefix_tree.invariants import violations_in
from preble.prefix_tree.matching import Match, held_above
from preble.prefix_tree.node import NONE, Node


class Victim(msgspec.Struct, gc=False):
    """Blocks of one node that an instance would evict next."""

    node: Node
    blocks: int
    hits: int
    """Requests through it in the window on that instance."""


class PrefixTree(HeldRuns):
    """Holders of block keys, and the requests that want them. All sizes are in blocks."""

    # Reading.

    def match(self, keys: Sequence[int], holders: int) -> Match:
        """Deepest depth held or expected, for each instance.

        Args:
            keys: Block keys of a prompt, first block first.
            holders: Mask of the instances asked about.

        Cost: O(log len(keys) + nodes on the way up to where the last one holds).
        """
        depth = self.keys.num_known(keys)
        node = self.keys.at(keys[depth - 1], depth) if depth else None
        if node is None:
            return Match(self.root, 0, [(0, holders)])
        return Match(node, depth, held_above(node, depth, holders))

    def match_at(self, leaf: Node, holders: int) -> Match:
        """The same for a prompt that is known to end in `leaf`. Cost: O(nodes on the way up)."""
        depth = leaf.start + len(leaf.keys)
        return Match(leaf, depth, held_above(leaf, depth, holders))

    def resident_depth(self, match: Match, holder: int) -> int:
        """Deepest depth that one instance holds for certain. Cost: O(nodes on the path)."""
        node, depth = match.node, match.depth
        while node.parent is not None:
            if held := node.held_blocks(holder):
                return min(depth, node.start + held)
            depth, node = node.start, node.parent
        return 0

    def pinned_depths(self, match: Match) -> dict[int, int]:
        """Deepest depth that jobs pin on each instance, if any. Cost: O(nodes on the path)."""
        depths: dict[int, int] = {}
        node, depth = match.node, match.depth
        while node.parent is not None:
            for holder in node.pins:
                depths.setdefault(holder, depth)
            depth, node = node.start, node.parent
        return depths

    def victims(self, holder: int, leaves: Iterable[Node]) -> Iterator[Victim]:
        """What an instance evicts when its cold blocks are gone: least recently used first.

        The last request through a node is its last use. Requests taken oldest first, a node
        falls with the last of its hits, and within one request the leaf before its parent:
        the order in which an engine evicts leaves.

        Args:
            holder: The instance.
            leaves: Last nodes of the requests in the window, oldest first: those counted by
                `hit` and not yet by `unhit`.

        Cost: O(nodes on the paths of the requests taken).
        """
        passed: dict[Node, int] = {}
        for leaf in leaves:
            node = leaf
            while node.parent is not None:
                count = passed[node] = passed.get(node, 0) + 1
                if count == node.hits[holder] and (blocks := node.held_blocks(holder)):
                    yield Victim(node, blocks, count)
                node = node.parent

    # What requests want.

    def insert(self, keys: Sequence[int], match: Match) -> Node | None:
        """The node that ends with a prompt's last full block, made if need be.

        None if one of its keys is that of another prefix: such a prompt has no place here.

        Args:
            keys: Block keys of the prompt.
            match: Of the same keys; of no use afterwards.

        Changes: splits at most one node, adds at most one. Until it is hit, expected, pinned
            or waited for, a new node is kept by nothing.
        Cost: O(blocks not known), and a copy of the run that is split.
        """
        node, known = match.node, match.depth
        if known - node.start < len(node.keys):
            node = self._split(node, known - node.start)
        return node if known == len(keys) else self._attach(node, array("Q", keys[known:]))

    def hit(self, leaf: Node, holder: int) -> int:
        """A request that ends in `leaf` was placed on an instance, which expects its blocks.

        Returns:
            Blocks of it that another request had, and that nobody holds or else computes: they
            were evicted everywhere.

        Cost: O(path).
        """
        self._changes[holder] += 1
        evicted_blocks = 0
        node = leaf
        while node.parent is not None:
            if node.hits is NONE:
                node.hits = {}
            elif sum(node.expected.values()) <= 1:
                evicted_blocks += len(node.keys) - node.most_held_blocks
            hits = node.hits[holder] = node.hits.get(holder, 0) + 1
            if hits == 1 and node.holders >> holder & 1:
                self.hot_blocks[holder] += node.held_blocks(holder)
            node = node.parent
        return evicted_blocks

    def unhit(self, leaf: Node, holder: int) -> None:
        """Such a request has left the window. There must have been one. Cost: O(path)."""
        self._changes[holder] += 1
        node = leaf
        while node.parent is not None:
            left = _take_one(node.hits, holder)
            if not left:
                self.hot_blocks[holder] -= node.held_blocks(holder)
                node.hits = node.hits or NONE
            node = node.parent
        self._trim(leaf)

    def expect(self, leaf: Node, holder: int) -> None:
        """A job placed on an instance will compute all blocks up to `leaf`. Cost: O(path)."""
        node, bit = leaf, 1 << holder
        while node.parent is not None:
            if node.expected is NONE:
                node.expected = {}
            node.expected[holder] = node.expected.get(holder, 0) + 1
            node.expecting |= bit
            node = node.parent

    def unexpect(self, leaf: Node, holder: int) -> None:
        """Take back one `expect`. There must have been one. Cost: O(path)."""
        node = leaf
        while node.parent is not None:
            if not _take_one(node.expected, holder):
                node.expecting &= ~(1 << holder)
                node.expected = node.expected or NONE
            node = node.parent
        self._trim(leaf)

    def pin(self, leaf: Node, holder: int) -> None:
        """A job that ends in `leaf` is on an instance. Cost: O(path)."""
        node = leaf
        while node.parent is not None:
            if node.pins is NONE:
                node.pins = {}
            pins = node.pins[holder] = node.pins.get(holder, 0) + 1
            if pins == 1:
                self.pinned_blocks[holder] += len(node.keys)
            node = node.parent

    def unpin(self, leaf: Node, holder: int) -> None:
        """Take back one `pin`. There must have been one. Cost: O(path)."""
        node = leaf
        while node.parent is not None:
            if not _take_one(node.pins, holder):
                self.pinned_blocks[holder] -= len(node.keys)
                node.pins = node.pins or NONE
            node = node.parent
        self._trim(leaf)

    def wait(self, leaf: Node) -> None:
        """A job that ends in `leaf` waits: its place is kept. Cost: O(1)."""
        leaf.waiting += 1

    def unwait(self, leaf: Node) -> None:
        """Take back one `wait`. There must have been one. Cost: O(path)."""
        leaf.waiting -= 1
        self._trim(leaf)

    def check_invariants(self) -> None:
        """Check what must hold between calls. Raises: InvariantError. Cost: O(tree)."""
        for violation in violations_in(self):
            msg = f"prefix tree: {violation}"
            raise InvariantError(msg)


def _take_one(counts: dict[int, int], holder: int) -> int:
    """Count one less. Returns what is left; nothing is kept of zero."""
    left = counts[holder] - 1
    if left:
        counts[holder] = left
    else:
        del counts[holder]
    return left

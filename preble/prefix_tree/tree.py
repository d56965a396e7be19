"""The prefix tree: runs of block keys, and which instance holds which.

A block key names its whole prefix (see `block_keys`), so one table key → node finds any
place in the tree, and the deepest known block of a prompt is found by bisection; what each
instance holds is read on the way from there to the root:

    prompt      k0 k1 k2 k3 k4 x5                 k4 is the deepest key in the table

    root ── [k0 k1] ─┬─ [k2 k3 k4 k5]    a: all, b: 2      a holds 5 blocks of the prompt,
              a b c  └─ [m2 m3]          c: all            b holds 4, c holds 2

A prompt that leaves a run in its middle splits it there, at most one node for each prompt.
The lower half keeps the node, so that whoever refers to a prompt's last node goes on doing so;
the table is left as it is, for from an outdated entry the way up leads to the right node.
Two kinds of holding are kept apart:

- *resident*: the instance's own events said so, exactly;
- *expected*: a job was placed there and has not computed its blocks yet, so that a burst
  with one prefix lands together.

A node lives while an instance holds it, a job expects it, a request in the window went
through it, or another node follows it; so memory is bounded by the KV caches, the queue and
the window. Instances are numbered *holders*; sets of them are bit masks.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from preble.errors import InvariantError
from preble.prefix_tree.invariants import violations_of
from preble.prefix_tree.key_table import KeyTable, parent_of
from preble.prefix_tree.matching import Match, held_above, holders_of
from preble.prefix_tree.node import NONE, Keys, Node, share_out


class Victim(msgspec.Struct, gc=False):
    """Blocks of one node that an instance would evict next."""

    node: Node
    blocks: int
    hits: int
    """Requests through it in the window on that instance."""


class PrefixTree:
    """Holders of block keys. All sizes are in blocks."""

    def __init__(self) -> None:
        self.root = Node(None, 0, array("Q"))
        self.keys = KeyTable()
        self.held_blocks: list[int] = []
        """Blocks each holder holds."""
        self.hot_blocks: list[int] = []
        """Those of them that a request in the window, placed there, went through."""
        self._changes: list[int] = []

    def __len__(self) -> int:
        """Distinct blocks known: held, expected, or part of a request in the window."""
        return len(self.keys)

    @property
    def cached_blocks(self) -> int:
        """Distinct blocks that some instance holds. Cost: O(nodes)."""
        return sum(node.most_held_blocks for node in self.nodes())

    def add_holder(self, holder: int) -> None:
        """Make room for an instance's number."""
        missing = holder + 1 - len(self.held_blocks)
        self.held_blocks += [0] * missing
        self.hot_blocks += [0] * missing
        self._changes += [0] * missing

    def changes(self, holder: int) -> int:
        """A number that is another one whenever the instance's next victims may be others."""
        return self._changes[holder]

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

    def resident_depth(self, match: Match, holder: int) -> int:
        """Deepest depth that one instance holds for certain. Cost: O(nodes on the path)."""
        node, depth = match.node, match.depth
        while node.parent is not None:
            if held := node.held_blocks(holder):
                return min(depth, node.start + held)
            depth, node = node.start, node.parent
        return 0

    def nodes(self) -> Iterator[Node]:
        """All nodes but the root, parents before children, siblings in order of arrival."""
        stack = [iter(self.root.children.values())]
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
                continue
            yield node
            stack.append(iter(node.children.values()))

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

    # What instances hold.

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

    # What requests want.

    def insert(self, keys: Sequence[int], match: Match) -> Node | None:
        """The node that ends with a prompt's last full block, made if need be.

        None if one of its keys is that of another prefix: such a prompt has no place here.

        Args:
            keys: Block keys of the prompt.
            match: Of the same keys; of no use afterwards.

        Changes: splits at most one node, adds at most one. Until it is hit or expected, a
            new node is kept by nothing.
        Cost: O(blocks not known), and a copy of the run that is split.
        """
        node, known = match.node, match.depth
        if known - node.start < len(node.keys):
            node = self._split(node, known - node.start)
        return node if known == len(keys) else self._attach(node, array("Q", keys[known:]))

    def hit(self, leaf: Node, holder: int) -> None:
        """A request that ends in `leaf` was placed on an instance. Cost: O(path)."""
        self._changes[holder] += 1
        node = leaf
        while node.parent is not None:
            if node.hits is NONE:
                node.hits = {}
            hits = node.hits[holder] = node.hits.get(holder, 0) + 1
            if hits == 1 and node.holders >> holder & 1:
                self.hot_blocks[holder] += node.held_blocks(holder)
            node = node.parent

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

    # Helpers.

    def _attach(self, parent: Node, keys: Keys) -> Node | None:
        node = Node(parent, parent.start + len(parent.keys), keys)
        if not self.keys.add(keys, node):
            return None
        parent.children[keys[0]] = node
        return node

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

    def _split(self, node: Node, at: int) -> Node:
        """Cut a run in two. Returns the upper half, which is new."""
        parent = parent_of(node)
        upper, lower = Node(parent, node.start, node.keys[:at]), node
        share_out(upper, lower, at)
        parent.children[upper.keys[0]] = upper
        lower.keys = lower.keys[at:]
        lower.parent, lower.start = upper, upper.start + at
        upper.children[lower.keys[0]] = lower
        for holder in node.hits:  # one victim became two
            self._changes[holder] += 1
        return upper

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

    def _trim(self, node: Node) -> None:
        """Forget what nothing keeps any more, from here towards the root."""
        while node.parent is not None and not node.is_wanted:
            keep = node.most_held_blocks
            if keep == len(node.keys):
                return
            gone = node.keys[keep:]
            del node.keys[keep:]
            self.keys.discard(gone)
            if keep:
                node.part = {each: held for each, held in node.part.items() if held < keep} or NONE
                return
            del node.parent.children[gone[0]]
            node = node.parent

    def check_invariants(self) -> None:
        """Check what must hold between calls. Raises: InvariantError. Cost: O(tree)."""
        for violation in self._violations():
            msg = f"prefix tree: {violation}"
            raise InvariantError(msg)

    def _violations(self) -> Iterator[str]:
        num_keys = 0
        held, hot = [0] * len(self.held_blocks), [0] * len(self.hot_blocks)
        for node in self.nodes():
            num_keys += len(node.keys)
            yield from violations_of(node)
            if any(self.keys.find(key) is not node for key in node.keys):
                yield "a key leads to another node"
            for holder in holders_of(node.holders):
                held[holder] += node.held_blocks(holder)
                hot[holder] += node.held_blocks(holder) if holder in node.hits else 0
        if num_keys != len(self):
            yield "the table of keys and the runs differ"
        if held != self.held_blocks or hot != self.hot_blocks:
            yield "blocks held or hot are counted wrongly"


def _end_in(node: Node, key: int, likely: int) -> int:
    """Blocks of the run up to this one; most often all, or `likely`."""
    run = node.keys
    if run[-1] == key:
        return len(run)
    if likely and run[likely - 1] == key:
        return likely
    return run.index(key) + 1


def _take_one(counts: dict[int, int], holder: int) -> int:
    """Count one less. Returns what is left; nothing is kept of zero."""
    left = counts[holder] - 1
    if left:
        counts[holder] = left
    else:
        del counts[holder]
    return left

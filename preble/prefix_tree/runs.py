"""The shape of the prefix tree: runs of blocks, how they part, and how they fall.

A prompt that leaves a run in its middle splits it there, at most one node for each prompt.
The lower half keeps the node, so that whoever refers to a prompt's last node goes on doing so;
the table is left as it is, for from an outdated entry the way up leads to the right node:

    before    [k0 k1 k2 k3 k4 k5]                  node n, to which k0 ... k5 lead

    after     [k0 k1] ─── [k2 k3 k4 k5]            new, and n; the keys still lead to n

What nothing keeps falls, from the end of a prompt towards the root.
"""

from array import array
from collections.abc import Iterator

from preble.prefix_tree.key_table import KeyTable, parent_of
from preble.prefix_tree.node import NONE, Keys, Node, share_out


class Runs:
    """All runs of a prefix tree, and what they come to for each holder. Sizes are in blocks."""

    def __init__(self) -> None:
        self.root = Node(None, 0, array("Q"))
        self.keys = KeyTable()
        self.held_blocks: list[int] = []
        """Blocks each holder holds."""
        self.hot_blocks: list[int] = []
        """Those of them that a request in the window, placed there, went through."""
        self.pinned_blocks: list[int] = []
        """Distinct blocks of the jobs that are on each instance, computed or not."""
        self._changes: list[int] = []

    def __len__(self) -> int:
        """Distinct blocks known: held, or of a job that waits or runs, or of one in the window."""
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
        self.pinned_blocks += [0] * missing
        self._changes += [0] * missing

    def changes(self, holder: int) -> int:
        """A number that is another one whenever the instance's next victims may be others."""
        return self._changes[holder]

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

    # How runs change.

    def _attach(self, parent: Node, keys: Keys) -> Node | None:
        node = Node(parent, parent.start + len(parent.keys), keys)
        if not self.keys.add(keys, node):
            return None
        parent.children[keys[0]] = node
        return node

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

"""One node of the prefix tree: a run of blocks that every prompt through it shares whole.

What is said of a node holds for its whole run, but for one thing: an instance may hold only
the first part of a run, because engines evict from the end. That is a number, not a split.

    keys       [ k3 k4 k5 k6 ]     blocks 3 to 6 of every prompt through here
    holders    a b                 both hold something of it
    part       b: 2                b holds k3 and k4 only; a, not named here, all of it
"""

from array import array
from typing import Final, TypeAlias

Keys: TypeAlias = "array[int]"
"""Block keys, eight bytes each: cut and compared without touching one object for each."""

NONE: Final[dict[int, int]] = {}
"""What a node without counts refers to; never written to, so that most nodes carry no dict."""


class Node:
    """A run of blocks. `PrefixTree` alone changes it."""

    __slots__ = (
        "children", "expected", "expecting", "hits", "holders", "keys", "parent", "part", "pins",
        "start", "waiting",
    )  # fmt: skip

    def __init__(self, parent: "Node | None", start: int, keys: Keys) -> None:
        self.parent = parent
        """None for the root alone, whose run is empty."""
        self.start = start
        """Blocks of the prompt before this run."""
        self.keys = keys
        self.children: dict[int, Node] = {}
        """By their first key."""
        self.holders = 0
        """Mask of the instances that hold at least the first block."""
        self.part = NONE
        """Blocks held, for those holders that do not hold all."""
        self.expecting = 0
        """Mask of the instances where some job will compute the whole run."""
        self.expected = NONE
        """Such jobs, for each instance."""
        self.pins = NONE
        """Jobs through this node that are on an instance, for each: it cannot evict the run."""
        self.waiting = 0
        """Jobs whose prompt ends here and that are on no instance yet."""
        self.hits = NONE
        """Requests through this node in the window, for each instance they were placed on."""

    def held_blocks(self, holder: int) -> int:
        """Blocks of the run that an instance holds."""
        if not self.holders >> holder & 1:
            return 0
        return self.part.get(holder, len(self.keys))

    @property
    def most_held_blocks(self) -> int:
        """Blocks of the run that some instance holds."""
        if self.holders.bit_count() > len(self.part):
            return len(self.keys)
        return max(self.part.values(), default=0)

    @property
    def is_wanted(self) -> bool:
        """Whether anything but residency keeps it: a request, a job, or what follows it."""
        return bool(self.hits or self.pins or self.expected or self.children or self.waiting)


def share_out(upper: Node, lower: Node, at: int) -> None:
    """What was said of a run, now `lower`, said of its halves."""
    part = lower.part
    upper.expecting, upper.expected = lower.expecting, dict(lower.expected) or NONE
    upper.pins = dict(lower.pins) or NONE
    upper.holders, upper.hits = lower.holders, dict(lower.hits) or NONE
    if part:
        upper.part = {each: held for each, held in part.items() if held < at} or NONE
        lower.part = {each: held - at for each, held in part.items() if held > at} or NONE
        for each, held in part.items():
            if held <= at:
                lower.holders &= ~(1 << each)

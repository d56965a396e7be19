"""Readjustment after assignment: what keeps `e2` from piling up where a prefix happens to be.

Both rules change who takes a request, never the cost:

- **rebalance**: while the heaviest instance's L exceeds Th_bal times the lightest's, exploits
  meant for the heaviest go to the lightest. Nothing is copied: the prefix is computed there.
- **replicate**: when the requests of one prefix wait twice as long in the newer half of the
  window as in the older, although exploits are rebalanced, the lightest instance gets the
  prefix too: the next exploit goes there, and the prefix's subtree is split between the two
  by its load, so that each half keeps its own cache warm.

A prefix here is a request's *key portion*: the deepest node longer than all before it.
Source: Preble, section 3.2 (post-assignment adjustment). Numbers that the paper leaves open,
and how a subtree is split, are decided in ADR 0014.
"""

import math
from collections import OrderedDict, deque
from typing import Final

import msgspec
import numpy as np

from preble.policy.choice import Options, cheapest
from preble.prefix_tree import Match, Node

BALANCE_THRESHOLD: Final = 1.5
"""Th_bal: the released code's value."""

WARM_UP_REQUESTS: Final = 50
"""In the window, for each instance, before loads are compared: the released code's value."""

MIN_WAITS: Final = 5
"""In each half of the window, before they are compared."""

_OLDER: Final = 0
_NEWER: Final = 1


class _Waits:
    """Waits of one prefix in the window, the older and the newer half apart."""

    __slots__ = ("_halves", "_sums_s", "last_at_s")

    def __init__(self) -> None:
        self._halves: tuple[deque[tuple[float, float]], ...] = (deque(), deque())
        self._sums_s = [0.0, 0.0]
        self.last_at_s = -math.inf

    def add(self, at_s: float, wait_s: float) -> None:
        self.last_at_s = at_s
        self._halves[_NEWER].append((at_s, wait_s))
        self._sums_s[_NEWER] += wait_s

    def advance(self, now_s: float, window_s: float) -> None:
        """Amortized O(1) for each wait."""
        older, newer = self._halves
        while newer and newer[0][0] <= now_s - window_s / 2:
            older.append(newer.popleft())
            self._sums_s[_NEWER] -= older[-1][1]
            self._sums_s[_OLDER] += older[-1][1]
        while older and older[0][0] <= now_s - window_s:
            self._sums_s[_OLDER] -= older.popleft()[1]

    @property
    def mean_older_and_newer_s(self) -> tuple[float, float] | None:
        """None while either half has too few."""
        if min(map(len, self._halves)) < MIN_WAITS:
            return None
        older, newer = self._halves
        return self._sums_s[_OLDER] / len(older), self._sums_s[_NEWER] / len(newer)


class _Move(msgspec.Struct, frozen=True, gc=False):
    holder: int
    until_s: float
    is_once: bool
    """Whether one request is enough: it makes the copy, and then the copy attracts others."""


class Readjustment:
    """What was learnt of waits, and where prefixes are being replicated to.

    Memory is bounded by the prefixes of requests that ended in the window.
    """

    def __init__(self) -> None:
        self._waits: OrderedDict[Node, _Waits] = OrderedDict()
        self._moves: dict[Node, _Move] = {}

    def lighter(self, options: Options, row: int) -> int | None:
        """Where an exploit goes instead, if the chosen instance is too heavy. Changes: nothing."""
        load_s = options.load_s
        if load_s[row] < load_s[load_s.argmax()] or len(options) == 1:
            return None
        lightest = cheapest(load_s, options.outstanding)
        is_heavy = load_s[row] > BALANCE_THRESHOLD * load_s[lightest]
        is_warm = len(options.fleet.history) >= WARM_UP_REQUESTS * len(options)
        return lightest if is_heavy and is_warm else None

    def replica(self, options: Options) -> int | None:
        """Where an exploit goes because its prefix, or part of it, moved.

        Changes: begins to replicate the prefix if its requests wait too long.
        Cost: O(nodes on the path).
        """
        shared = _shared_whole(options.match)
        prefix = key_portion(shared)
        if prefix is not None and self._is_overloaded(prefix, options):
            self._replicate(prefix, options)
        return self._moved(shared, options) if self._moves else None

    def waited(self, leaf: Node, wait_s: float, *, now_s: float, window_s: float) -> None:
        """A request ended that had waited so long. Cost: amortized O(nodes on the path)."""
        prefix = key_portion(leaf)
        if prefix is None:
            return
        waits = self._waits.setdefault(prefix, _Waits())
        waits.add(now_s, wait_s)
        waits.advance(now_s, window_s)
        self._waits.move_to_end(prefix)
        while next(iter(self._waits.values())).last_at_s <= now_s - window_s:
            self._waits.popitem(last=False)

    def _is_overloaded(self, prefix: Node, options: Options) -> bool:
        waits = self._waits.get(prefix)
        if waits is None:
            return False
        waits.advance(options.now_s, options.fleet.history.window_s)
        means = waits.mean_older_and_newer_s
        if means is None:
            return False
        older_s, newer_s = means
        # A wait shorter than the prefix takes to compute is not worth a second copy.
        return newer_s >= max(2 * older_s, options.fleet.node_prefill_s(prefix))

    def _replicate(self, prefix: Node, options: Options) -> None:
        """Give the prefix to the lightest instance without it, and split what follows it."""
        end_tokens = (prefix.start + len(prefix.keys)) * options.fleet.block_size
        without = np.where(options.hit_tokens < end_tokens - 1, options.load_s, np.inf)
        row = cheapest(without, options.outstanding)
        del self._waits[prefix]  # what they waited before says nothing of what is now
        if math.isinf(without[row]):
            return
        holder = options.fleet.rows[row].account.holder
        until_s = options.now_s + options.fleet.history.window_s
        self._moves = {
            node: move for node, move in self._moves.items() if move.until_s > options.now_s
        }
        self._moves[prefix] = _Move(holder, until_s, is_once=True)
        for child in _lighter_half(prefix):
            self._moves[child] = _Move(holder, until_s, is_once=False)

    def _moved(self, shared: Node, options: Options) -> int | None:
        node: Node | None = shared
        while node is not None:
            move = self._moves.get(node)
            if move is not None:
                row = options.fleet.row(move.holder)
                if move.is_once or row is None or move.until_s <= options.now_s:
                    del self._moves[node]
                if row is not None and move.until_s > options.now_s:
                    return row
            node = node.parent
        return None


def key_portion(leaf: Node) -> Node | None:
    """The deepest node on the way to the root that is longer than all before it together."""
    node = leaf
    while node.parent is not None:
        if len(node.keys) > node.start:
            return node
        node = node.parent
    return None


def _shared_whole(match: Match) -> Node:
    """The deepest node whose run the request shares to its end."""
    node = match.node
    if node.parent is not None and match.depth < node.start + len(node.keys):
        return node.parent
    return node


def _lighter_half(prefix: Node) -> list[Node]:
    """Half of the shared subtrees behind a prefix, by the blocks that requests took there."""
    loads = [(sum(child.hits.values()) * len(child.keys), child) for child in
             prefix.children.values() if sum(child.hits.values()) > 1]  # fmt: skip
    loads.sort(key=lambda each: -each[0])
    kept = moved = 0
    half: list[Node] = []
    for load, child in loads:
        if moved < kept:
            moved += load
            half.append(child)
        else:
            kept += load
    return half

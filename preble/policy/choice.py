"""What a policy chooses from, and what it answers."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec
import numpy as np

from preble.fleet import Fleet
from preble.history import Column
from preble.messages import JobId
from preble.prefix_tree import Match, Node


class Options:
    """One request before all live instances: a row for each, ordered by instance id.

    What every decision needs is given; what only some policies weigh is read from `fleet`.

    Args:
        fleet: The instances and their load.
        job_id: Of the request.
        keys: Block keys of its prompt.
        match: Of these keys in the tree.
        prompt_tokens: Length of its prompt.
        max_new_tokens: Most tokens it may produce.
        now_s: Clock seconds.
    """

    def __init__(
        self, fleet: Fleet, job_id: JobId, keys: Sequence[int], match: Match, *,
        prompt_tokens: int, max_new_tokens: int, now_s: float,
    ) -> None:  # fmt: skip
        self.fleet = fleet
        self.job_id = job_id
        self.keys = keys
        self.match = match
        self.prompt_tokens = prompt_tokens
        self.max_new_tokens = max_new_tokens
        self.now_s = now_s
        self.hits = fleet.hit_tokens(match, prompt_tokens)
        """Tokens held or expected, as a list."""
        self.prefill_s: Column = fleet.prefill_s(prompt_tokens, self.hits)
        """P: seconds to prefill what each instance misses."""
        self.eviction_s: Column | None = None
        """M: seconds each instance loses by making room; None until `weigh_eviction`."""

    def __len__(self) -> int:
        """Instances, at least 1."""
        return len(self.hits)

    @property
    def hit_tokens(self) -> Column:
        """`hits` as a column."""
        tokens: Column = np.array(self.hits, dtype=float)
        return tokens

    @property
    def miss_tokens(self) -> Column:
        """Tokens that each instance would compute."""
        tokens: Column = self.prompt_tokens - self.hit_tokens
        return tokens

    @property
    def load_s(self) -> Column:
        """L: seconds placed on each instance in the window."""
        return self.fleet.history.load_s

    @property
    def outstanding(self) -> Column:
        """Jobs placed on each instance that have not ended."""
        return self.fleet.outstanding

    def weigh_eviction(self) -> Column:
        """M. Cost: O(instances), and amortized the log of the victims of each that is full."""
        blocks = self.prompt_tokens // self.fleet.block_size
        self.eviction_s = self.fleet.eviction_s(blocks, self.hits)
        return self.eviction_s


class Choice(msgspec.Struct, frozen=True):
    """The row a policy takes, and why."""

    row: int
    reason: str
    cost: Column | None = None
    """What it minimized, in its own unit; None if it weighs nothing."""


@runtime_checkable
class Policy(Protocol):
    """A rule that picks an instance."""

    name: str

    def choose(self, options: Options) -> Choice:
        """Pick a row. Changes: at most what the policy counts itself."""
        ...

    def waited(self, leaf: Node, wait_s: float, *, now_s: float, window_s: float) -> None:
        """A request ended that had waited so long for its prefill to begin.

        Args:
            leaf: Where its prompt ends in the tree.
            wait_s: From its placement.
            now_s: Clock seconds.
            window_s: The window H.
        """
        ...


class Rule:
    """A policy that is one formula and remembers nothing of what ended. Implements `Policy`.

    Args:
        name: As in the settings.
        choose: The formula.
    """

    def __init__(self, name: str, choose: Callable[[Options], Choice]) -> None:
        self.name = name
        self._choose = choose

    def choose(self, options: Options) -> Choice:
        """By the formula."""
        return self._choose(options)

    def waited(self, leaf: Node, wait_s: float, *, now_s: float, window_s: float) -> None:
        """Of no interest."""


def cheapest(cost: Column, tie: Column) -> int:
    """The row of least cost; of several, that of least `tie`; of several, the first."""
    (rows,) = (cost == cost[cost.argmin()]).nonzero()
    return int(rows[0] if len(rows) == 1 else rows[tie[rows].argmin()])

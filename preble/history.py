"""What was placed within the window H: the `L` of the paper's load cost, and who shared what.

L_i = sum over the requests r placed on instance i in the last H seconds of
      PrefillTime(missed tokens of r on i) + DecodeTime(average output on i in H)

With few outputs observed on i, the average is that of all instances.

Source: Preble, Algorithm 2. Kept as running sums in one column for each instance, so that
reading L of all instances is a few array operations, and every request is added once and
expired once. The prefix tree's hits are counted for exactly the requests in the window.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from preble.prefix_tree import Node, PrefixTree

DEFAULT_OUTPUT_TOKENS: Final = 45
"""Output length assumed before any was observed: the released code's default."""

Column = npt.NDArray[np.float64]
"""One number for each instance."""

Table = npt.NDArray[np.float64]
"""Columns, one after another."""

MIN_OUTPUTS: Final = 10
"""Observed on an instance in the window before its own mean counts, not that of all. One that
is overloaded ends few requests, short ones first: its own mean would draw more to it."""

MIN_SPAN_S: Final = 10.0
"""Shorter than that, what was placed says nothing of a share of time."""

_COLUMNS: Final = 3


class Account:
    """What the window holds of one instance, and where the instance stands. Mutable."""

    __slots__ = (
        "holder", "leaves", "num_outputs", "output_tokens", "prefill_s", "row", "token_decode_s",
    )  # fmt: skip

    def __init__(self, holder: int) -> None:
        self.holder = holder
        """Its number in the prefix tree, the same for as long as it lives."""
        self.row = -1
        """In every column; another one when instances come and go, none before `arrange`."""
        self.clear()

    def clear(self) -> None:
        """Nothing was placed."""
        self.leaves: deque[Node] = deque()
        """Where the requests end in the tree, oldest first."""
        self.prefill_s = 0.0
        self.token_decode_s = 0.0
        self.output_tokens = 0
        self.num_outputs = 0


class _Placed(msgspec.Struct, frozen=True, gc=False):
    at_s: float
    account: Account
    leaf: Node | None
    prefill_s: float
    recompute_s: float
    token_decode_s: float
    is_exploit: bool


class _Output(msgspec.Struct, frozen=True, gc=False):
    at_s: float
    account: Account
    tokens: int
    stay_s: float


class History:
    """Requests placed and outputs observed in the last `window_s` seconds, by instance.

    Columns have a row for each account: `load_s` is L, `requests` counts those placed in the
    window, `exploits` those of them that went where most of their prompt was held (decode
    units). Memory is bounded by the rate of placements times the window, and by
    `expire_oldest`.

    Args:
        window_s: H.
        tree: Where the hits of the same requests are counted.
    """

    def __init__(self, window_s: float, tree: PrefixTree) -> None:
        self.window_s = window_s
        self._tree = tree
        self._placed: deque[_Placed] = deque()
        self._prefill_s = 0.0
        """Of all that was placed."""
        self._recompute_s = 0.0
        """Part of it."""
        self._outputs: deque[_Output] = deque()
        self._output_tokens = 0
        """Of all instances."""
        self._stay_s = 0.0
        """Likewise."""
        self._unknown: set[Account] = set()
        """Those of which too few outputs were observed."""
        self._set_table(np.zeros((_COLUMNS, 0)))

    def __len__(self) -> int:
        """Requests in the window."""
        return len(self._placed)

    def arrange(self, rows: Sequence[int | None]) -> None:
        """Bring the columns into another order.

        Args:
            rows: For each row, which one it was; None for a new account.
        """
        self._set_table(reordered(self._table, rows))

    def forget(self, account: Account) -> None:
        """An instance is gone, or begins anew with an empty cache. Cost: O(window)."""
        for leaf in account.leaves:
            self._tree.unhit(leaf, account.holder)
        self._placed = deque(each for each in self._placed if each.account is not account)
        self._prefill_s = sum(each.prefill_s for each in self._placed)
        self._recompute_s = sum(each.recompute_s for each in self._placed)
        self._output_tokens -= account.output_tokens
        self._outputs = deque(each for each in self._outputs if each.account is not account)
        self._stay_s = sum(each.stay_s for each in self._outputs)
        account.clear()
        self._unknown.discard(account)
        self._weigh_unknown()
        self._table[:, account.row] = 0.0

    def place(
        self, account: Account, leaf: Node | None, *, prefill_s: float, block_prefill_s: float,
        token_decode_s: float, is_exploit: bool, now_s: float,
    ) -> None:  # fmt: skip
        """A request was placed on an instance.

        Args:
            account: Of the instance.
            leaf: Where its prompt ends in the tree; None if it fills no block. Its blocks are
                expected there.
            prefill_s: Predicted seconds to prefill what it misses there.
            block_prefill_s: The same for one block of it.
            token_decode_s: Predicted seconds to decode one of its output tokens.
            is_exploit: Whether most of its prompt was held there.
            now_s: Clock seconds.

        Cost: O(nodes on the path).
        """
        evicted_blocks = 0
        if leaf is not None:
            account.leaves.append(leaf)
            evicted_blocks = self._tree.hit(leaf, account.holder)
        recompute_s = min(prefill_s, evicted_blocks * block_prefill_s)
        self._placed.append(
            _Placed(now_s, account, leaf, prefill_s, recompute_s, token_decode_s, is_exploit)
        )
        self._prefill_s += prefill_s
        self._recompute_s += recompute_s
        account.prefill_s += prefill_s
        account.token_decode_s += token_decode_s
        self._count(account, 1, is_exploit=is_exploit)

    def observe_output(self, account: Account, tokens: int, *, stay_s: float, now_s: float) -> None:
        """A request ended on an instance after this many output tokens, `stay_s` after it came."""
        self._outputs.append(_Output(now_s, account, tokens, stay_s))
        self._stay_s += stay_s
        self._count_output(account, 1, tokens)

    def expire(self, now_s: float) -> None:
        """Forget what is older than the window. Cost: amortized O(path) for each request."""
        start_s = now_s - self.window_s
        while self._placed and self._placed[0].at_s <= start_s:
            self.expire_oldest()
        while self._outputs and self._outputs[0].at_s <= start_s:
            gone = self._outputs.popleft()
            self._stay_s -= gone.stay_s
            self._count_output(gone.account, -1, -gone.tokens)

    def expire_oldest(self) -> None:
        """Forget the oldest request before its time. Raises: IndexError if there is none."""
        gone = self._placed.popleft()
        account = gone.account
        self._prefill_s = self._prefill_s - gone.prefill_s if self._placed else 0.0
        self._recompute_s = self._recompute_s - gone.recompute_s if self._placed else 0.0
        account.prefill_s -= gone.prefill_s
        account.token_decode_s -= gone.token_decode_s
        self._count(account, -1, is_exploit=gone.is_exploit)
        if gone.leaf is not None:
            account.leaves.popleft()
            self._tree.unhit(gone.leaf, account.holder)

    def _count(self, account: Account, one: int, *, is_exploit: bool) -> None:
        row = account.row
        self.requests[row] += one
        if is_exploit:
            self.exploits[row] += one
        if not self.requests[row]:
            account.prefill_s = account.token_decode_s = 0.0  # no rounding error outlives a lull
        self._weigh(account)

    def _count_output(self, account: Account, one: int, tokens: int) -> None:
        account.num_outputs += one
        account.output_tokens += tokens
        self._output_tokens += tokens
        self._weigh(account)
        self._weigh_unknown()

    def _weigh_unknown(self) -> None:
        """The mean of all is another one."""
        for account in tuple(self._unknown):
            self._weigh(account)

    def _weigh(self, account: Account) -> None:
        if account.num_outputs >= MIN_OUTPUTS:
            self._unknown.discard(account)
            average_tokens = account.output_tokens / account.num_outputs
        else:
            self._unknown.add(account)
            average_tokens = self.mean_output_tokens
        decode_s = account.token_decode_s * average_tokens
        self.load_s[account.row] = account.prefill_s + decode_s

    @property
    def mean_output_tokens(self) -> float:
        """Observed on all instances in the window; `DEFAULT_OUTPUT_TOKENS` before any was."""
        if not self._outputs:
            return DEFAULT_OUTPUT_TOKENS
        return self._output_tokens / len(self._outputs)

    def prefill_share(self, now_s: float) -> float:
        """Share of their time that the instances prefill, as far as the window goes back.

        Of the last `MIN_SPAN_S` at least. Above 1 where more was placed than can be done.
        """
        if not self._placed:
            return 0.0
        span_s = max(now_s - self._placed[0].at_s, MIN_SPAN_S)
        return self._prefill_s / (span_s * len(self.requests))

    @property
    def recompute_share(self) -> float:
        """Share of all prefill that is of blocks which the window knows and all have evicted.

        0 where the caches hold what is asked for again. Too low rather than too high: what was
        asked for before the window is not known.
        """
        return self._recompute_s / self._prefill_s if self._prefill_s > 0 else 0.0

    @property
    def mean_stay_s(self) -> float:
        """From a request's placement to its end, observed as above; 0 before any was."""
        return self._stay_s / len(self._outputs) if self._outputs else 0.0

    def _set_table(self, table: Table) -> None:
        self._table = table
        self.requests: Column = table[0]
        self.exploits: Column = table[1]
        self.load_s: Column = table[2]


def reordered(table: Table, rows: Sequence[int | None]) -> Table:
    """The same columns with other rows.

    Args:
        table: Shape (columns, rows).
        rows: For each new row, which one it was; None for zeros.
    """
    new: Table = np.zeros((len(table), len(rows)))
    for row, earlier in enumerate(rows):
        if earlier is not None:
            new[:, row] = table[:, earlier]
    return new

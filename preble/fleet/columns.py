"""Columns: who is there and how loaded, one array for each quantity.

A decision weighs every instance, so what it weighs is kept as columns, updated when a job comes
or goes; policies write their formulas over whole columns. Rows are the live instances in the
order of their ids.
"""

from itertools import count
from typing import Final

import numpy as np

from preble.cost_model import CostModel
from preble.history import Column, History, Table, reordered
from preble.instance import Instance
from preble.messages import InstanceId
from preble.prefix_tree import PrefixTree

_COLUMNS: Final = 9

_NEXT_PROMPT_TOKENS: Final = 2_048
"""Of the job to come, as far as that decides on which line a decode step lies."""

MAX_UNHELD_BLOCKS: Final = 4_000_000
"""Blocks known beyond those that instances hold: requests of the window and of jobs under way.
Beyond, the window is cut short. About 400 MB."""


class Columns:
    """Live instances, the tree of what they hold, and a row for each of them.

    Columns have a row for each instance:

        outstanding      jobs placed that have not ended
        backlog_s        seconds of their prefill that is not known to be computed
        backlog_tokens   missed tokens of the same
        context_tokens   prompt tokens of the outstanding jobs
        pinned_tokens    the same in full blocks, those that several share counted once
        relief           a number that is another one whenever the instance can take more

    and those of `history`: load_s, requests, exploits.

    Args:
        block_size: Tokens in a block.
        history_s: The window H.
    """

    def __init__(self, *, block_size: int, history_s: float) -> None:
        self.block_size = block_size
        self.tree = PrefixTree()
        self.history = History(history_s, self.tree)
        self.instances: dict[InstanceId, Instance] = {}
        """Ordered by id."""
        self.rows: list[Instance] = []
        """The same, a row each."""
        self.mask = 0
        """All their holders."""
        self.ids: list[InstanceId] = []
        """Of the rows. Never changed, but replaced: decision records keep it."""
        self._row_of: dict[int, int] = {}
        self._max_blocks = MAX_UNHELD_BLOCKS
        self._least_capacity_blocks = 0
        self._model_of: list[CostModel] = []
        self._models: set[CostModel] = set()
        self._reliefs = count(1)
        self._set_table(np.zeros((_COLUMNS, 0)))
        self.slots: Column = np.zeros(0)
        """Jobs that each engine runs at once."""
        self._kv_tokens: Column = np.zeros(0)

    def row(self, holder: int) -> int | None:
        """The row of an instance; None if it is gone."""
        return self._row_of.get(holder)

    @property
    def running(self) -> Column:
        """Jobs placed on each instance, at most its slots."""
        jobs: Column = np.minimum(self.outstanding, self.slots)
        return jobs

    @property
    def num_placed(self) -> list[int]:
        """`outstanding` as a list."""
        return [len(instance.placed) for instance in self.rows]

    # Kept up by those who change who is there, or what is placed.

    def _arrange(self) -> None:
        """Rows follow the ids, whoever came or went."""
        self.instances = dict(sorted(self.instances.items()))
        self.rows = list(self.instances.values())
        self.ids = list(self.instances)
        accounts = [instance.account for instance in self.rows]
        earlier = [None if account.row < 0 else account.row for account in accounts]
        self.history.arrange(earlier)
        self._set_table(reordered(self._table, earlier))
        for row, account in enumerate(accounts):
            account.row = row
        self._row_of = {account.holder: account.row for account in accounts}
        self.mask = sum(1 << account.holder for account in accounts)

    def _sum_up(self) -> None:
        """What is read by every decision, and changes only when instances come or go."""
        self.slots = np.array([each.record.slots for each in self.rows], dtype=float)
        capacities = [instance.capacity_blocks for instance in self.rows]
        self._kv_tokens = np.array(capacities, dtype=float) * self.block_size
        self._max_blocks = MAX_UNHELD_BLOCKS + sum(capacities)
        self._least_capacity_blocks = min(capacities, default=0)
        self._model_of = [instance.cost_model for instance in self.rows]
        self._models = set(self._model_of)

    def _jobs_changed(self, instance: Instance) -> None:
        """What follows from which jobs an instance has: memory pinned, length of a step."""
        account, row = instance.account, instance.account.row
        self.pinned_tokens[row] = self.tree.pinned_blocks[account.holder] * self.block_size
        num_jobs, slots = len(instance.placed) + 1, instance.record.slots
        running, share = (num_jobs, 1.0) if num_jobs <= slots else (slots, slots / num_jobs)
        tokens = float(self.context_tokens[row]) * share
        line = instance.cost_model.decode_line(running, int(tokens) + _NEXT_PROMPT_TOKENS)
        self._step_s[row] = line.constant + line.slope * tokens
        self._step_s_per_token[row] = line.slope * share

    def _compare_speeds(self) -> None:
        factors = np.array([each.correction.factor for each in self.rows])
        self._speed[:] = factors / np.median(factors)

    def _set_table(self, table: Table) -> None:
        self._table = table
        self.outstanding: Column = table[0]
        self.backlog_s: Column = table[1]
        self.backlog_tokens: Column = table[2]
        self.context_tokens: Column = table[3]
        self._speed: Column = table[4]
        self.pinned_tokens: Column = table[5]
        self._step_s: Column = table[6]
        self._step_s_per_token: Column = table[7]
        self.relief: Column = table[8]

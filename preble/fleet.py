"""What the scheduler believes of all instances: who is there, and their load in columns.

A decision weighs every instance, so what it weighs is kept as one array for each quantity,
updated when a job comes or goes; policies write their formulas over whole columns. Rows are
the live instances in the order of their ids.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Final

import numpy as np

from preble.cost_model import CostModel
from preble.eviction import EvictionCurve
from preble.history import Account, Column, History, Table, reordered
from preble.instance import Instance, PlacedRequest
from preble.messages import InstanceId, InstanceRecord, JobId
from preble.prefix_tree import Match, Node, PrefixTree, holders_of

_COLUMNS: Final = 9

_NEXT_PROMPT_TOKENS: Final = 2_048
"""Of the job to come, as far as that decides on which line a decode step lies."""

MAX_UNHELD_BLOCKS: Final = 4_000_000
"""Blocks known beyond those that instances hold: requests of the window and of jobs under way.
Beyond, the window is cut short. About 400 MB."""


class Fleet:
    """Live instances, the tree of what they hold, and what was placed on them.

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
        self._placed: dict[JobId, PlacedRequest] = {}
        self._max_blocks = MAX_UNHELD_BLOCKS
        self._least_capacity_blocks = 0
        self._model_of: list[CostModel] = []
        self._models: set[CostModel] = set()
        self._reliefs = count(1)
        self._set_table(np.zeros((_COLUMNS, 0)))
        self.slots: Column = np.zeros(0)
        """Jobs that each engine runs at once."""
        self._kv_tokens: Column = np.zeros(0)

    # Who is there.

    def join(self, record: InstanceRecord, cost_model: CostModel) -> None:
        """An instance began a life; what an earlier life held is forgotten, its jobs are not."""
        instance = self.instances.get(record.instance_id)
        if instance:
            self._forget_cache(instance)
            instance.begin(record, cost_model)
            self._compare_speeds()
        else:
            account = Account(self._free_holder())
            self.tree.add_holder(account.holder)
            self.instances[record.instance_id] = instance = Instance(record, account, cost_model)
            self._arrange()
            self._speed[account.row] = 1.0
        instance.capacity_blocks = record.kv_capacity_tokens // self.block_size
        self._sum_up()
        self._jobs_changed(instance)
        self.relief[instance.account.row] = next(self._reliefs)

    def leave(self, instance: Instance) -> None:
        """An instance is gone, with all that was placed on it and all it held."""
        for job_id in list(instance.placed):
            self.forget(job_id)
        self._forget_cache(instance)
        del self.instances[instance.record.instance_id]
        self._arrange()
        self._sum_up()

    def row(self, holder: int) -> int | None:
        """The row of an instance; None if it is gone."""
        return self._row_of.get(holder)

    # What a request would meet.

    def prefill_s(self, prompt_tokens: int, hit_tokens: Sequence[int]) -> Column:
        """P: seconds to prefill what a prompt misses on each instance. Cost: O(instances)."""
        whole_s = {model: model.prefill_s(prompt_tokens, prompt_tokens) for model in self._models}
        predicted = [
            model.prefill_s(prompt_tokens - hits, prompt_tokens) if hits else whole_s[model]
            for model, hits in zip(self._model_of, hit_tokens, strict=True)
        ]
        seconds: Column = np.array(predicted) * self._speed
        return seconds

    def eviction_s(self, prompt_blocks: int, hit_tokens: Sequence[int]) -> Column:
        """M: seconds that each instance loses by making room for what a prompt misses.

        Cost: O(instances), and for those that are full amortized the log of their victims.
        """
        lost_s: Column = np.zeros(len(self.rows))
        hot, size = self.tree.hot_blocks, self.block_size
        if prompt_blocks + max(hot) <= self._least_capacity_blocks:
            return lost_s
        for row, (instance, hits) in enumerate(zip(self.rows, hit_tokens, strict=True)):
            room_blocks = instance.capacity_blocks - hot[instance.account.holder]
            blocks = prompt_blocks - hits // size - room_blocks
            if blocks > 0:
                lost_s[row] = self._evict_s(instance, blocks) * self._speed[row]
        return lost_s

    @property
    def free_slots(self) -> Column:
        """Jobs that each engine could run beside those placed there."""
        return self.slots - self.outstanding

    def decode_step_s(self, prompt_tokens: int) -> Column:
        """Seconds of a decode step of all jobs placed on each instance and one more.

        No more than its slots take part, of mean length. Cost: O(instances), a few array
        operations: the line on which each instance's steps lie is kept.
        """
        steps_s: Column = self._step_s + self._step_s_per_token * prompt_tokens
        return steps_s * self._speed

    def decode_drag_s(self, prompt_tokens: int) -> Column:
        """What one more context adds to a decode step, in seconds of all jobs placed there.

        Each of them waits for the step. Cost: as `decode_step_s`.
        """
        drag_s: Column = self._step_s_per_token * prompt_tokens * self.running
        return drag_s * self._speed

    @property
    def running(self) -> Column:
        """Jobs placed on each instance, at most its slots."""
        jobs: Column = np.minimum(self.outstanding, self.slots)
        return jobs

    # KV memory.

    @property
    def free_kv_tokens(self) -> Column:
        """KV memory of each instance that no job placed there needs; negative where some wait.

        Blocks that several jobs share count once. Each job will need a mean output, and a block
        begun, beside its prompt. What is cached only is free.
        """
        free: Column = self._kv_tokens - self.pinned_tokens - self.growth_tokens * self.outstanding
        return free

    @property
    def growth_tokens(self) -> float:
        """What a job will need beside its full blocks: a block begun, and an output."""
        return self.block_size + self.history.mean_output_tokens

    def unshared_tokens(self, match: Match, prompt_tokens: int) -> Column:
        """Of a prompt, those that no job placed on each instance has in its own.

        Cost: O(instances + nodes on the path).
        """
        shared = [0] * len(self.rows)
        for holder, blocks in self.tree.pinned_depths(match).items():
            shared[self._row_of[holder]] = blocks
        unshared: Column = prompt_tokens - np.array(shared, dtype=float) * self.block_size
        return unshared

    def needed_kv_tokens(self, match: Match, prompt_tokens: int) -> Column:
        """KV memory that a job would need beside what jobs placed on each instance share with it.

        Cost: as `unshared_tokens`.
        """
        return self.unshared_tokens(match, prompt_tokens) + self.growth_tokens

    def kv_shortage(self, match: Match, prompt_tokens: int) -> Column | None:
        """What a job lacks of KV memory, as a share of what jobs hold there; None if nowhere any.

        Cost: O(instances), and O(nodes on the path) where memory is short.
        """
        free = self.free_kv_tokens
        if free[free.argmin()] >= prompt_tokens + self.growth_tokens:
            return None
        missing = np.maximum(self.needed_kv_tokens(match, prompt_tokens) - free, 0.0)
        held = np.maximum(self._kv_tokens - free, 1.0)
        shortage: Column = missing / held
        return shortage

    @property
    def num_placed(self) -> list[int]:
        """`outstanding` as a list."""
        return [len(instance.placed) for instance in self.rows]

    def hit_tokens(self, match: Match, prompt_tokens: int) -> list[int]:
        """Tokens held or expected on each instance; an engine computes at least the last."""
        most, row_of = prompt_tokens - 1, self._row_of
        hits = [0] * len(self.rows)
        for depth, holders in match.held:
            tokens = min(depth * self.block_size, most)
            if not tokens:
                continue
            for holder in holders_of(holders):
                hits[row_of[holder]] = tokens
        return hits

    def resident_tokens(self, match: Match, instance: Instance, prompt_tokens: int) -> int:
        """Tokens of a prompt that an instance holds for certain. Cost: O(nodes on the path)."""
        blocks = self.tree.resident_depth(match, instance.account.holder)
        return min(blocks * self.block_size, prompt_tokens - 1)

    def node_prefill_s(self, node: Node) -> float:
        """Seconds to compute a node's run, on the first instance.

        Raises:
            IndexError: If there is none.
        """
        prefill_s = _node_prefill_s(self.rows[0].cost_model, self.block_size)
        return prefill_s(len(node.keys), node.start + len(node.keys))

    # Jobs.

    def place(
        self, job_id: JobId, instance: Instance, keys: Sequence[int], match: Match, *,
        prompt_tokens: int, hit_tokens: int, prefill_s: float, now_s: float,
    ) -> PlacedRequest:  # fmt: skip
        """Count a job on an instance, with the blocks it will compute there.

        Until `remember` it can be taken back by `forget` as if it had never been.

        Args:
            job_id: Not placed.
            instance: Where to.
            keys: Block keys of its prompt.
            match: Of these keys; of no use afterwards.
            prompt_tokens: Its length.
            hit_tokens: Held or expected there.
            prefill_s: P there.
            now_s: Clock seconds.

        Cost: O(blocks not known + nodes on the path).
        """
        leaf = self.tree.insert(keys, match) if keys else None
        placed = PlacedRequest(
            job_id, instance, leaf, None if leaf is None else keys[-1], prompt_tokens=prompt_tokens,
            miss_tokens=prompt_tokens - hit_tokens, prefill_s=prefill_s, placed_at_s=now_s,
        )  # fmt: skip
        account = instance.account
        if leaf is not None and placed.last_key is not None:
            self.tree.pin(leaf, account.holder)
            self.tree.expect(leaf, account.holder)
            instance.computing.setdefault(placed.last_key, []).append(placed)
        self._placed[job_id] = instance.placed[job_id] = placed
        self.outstanding[account.row] += 1
        self.context_tokens[account.row] += prompt_tokens
        self.backlog_s[account.row] += prefill_s
        self.backlog_tokens[account.row] += placed.miss_tokens
        self._jobs_changed(instance)
        return placed

    def remember(self, placed: PlacedRequest) -> None:
        """A job's placement is final: it counts in the window. Cost: O(nodes on the path)."""
        instance, prompt_tokens = placed.instance, placed.prompt_tokens
        self.history.place(
            instance.account, placed.leaf, prefill_s=placed.prefill_s,
            block_prefill_s=placed.prefill_s * self.block_size / max(placed.miss_tokens, 1),
            token_decode_s=instance.cost_model.decode_s(1, prompt_tokens),
            is_exploit=placed.miss_tokens < prompt_tokens - placed.miss_tokens,
            now_s=placed.placed_at_s,
        )  # fmt: skip
        self._bound()

    def placed(self, job_id: JobId) -> PlacedRequest | None:
        """What is believed of a job on an instance; None if it is on none."""
        return self._placed.get(job_id)

    def forget(self, job_id: JobId) -> PlacedRequest | None:
        """A job is no longer on its instance. Returns what was believed of it, if anything."""
        placed = self._placed.pop(job_id, None)
        if placed is None:
            return None
        row = placed.instance.account.row
        del placed.instance.placed[job_id]
        self.computed(placed)
        placed.instance.num_decoding -= 1
        if placed.leaf is not None:
            self.tree.unpin(placed.leaf, placed.instance.account.holder)
        self.relief[row] = next(self._reliefs)
        self.outstanding[row] -= 1
        self.context_tokens[row] -= placed.prompt_tokens
        if not placed.instance.placed:
            self.backlog_s[row] = 0.0  # no rounding error outlives a lull
        self._jobs_changed(placed.instance)
        return placed

    def computed(self, placed: PlacedRequest) -> None:
        """A job's prompt has been computed: it is no backlog, its blocks are expected no more."""
        if placed.is_computed:
            return
        placed.is_computed = True
        instance = placed.instance
        self.relief[instance.account.row] = next(self._reliefs)
        instance.num_decoding += 1
        self.backlog_s[instance.account.row] -= placed.prefill_s
        self.backlog_tokens[instance.account.row] -= placed.miss_tokens
        self.unexpect(placed)
        if placed.last_key is not None:
            computing = instance.computing[placed.last_key]
            computing.remove(placed)
            if not computing:
                del instance.computing[placed.last_key]

    def unexpect(self, placed: PlacedRequest) -> None:
        """A job's blocks are not believed to come any more. Twice does no harm."""
        if placed.is_expected and placed.leaf is not None:
            placed.is_expected = False
            self.tree.unexpect(placed.leaf, placed.instance.account.holder)

    def stored(self, instance: Instance, keys: Iterable[int]) -> None:
        """An instance has stored these blocks: jobs whose prompt ends there are computed."""
        for key in instance.computing.keys() & set(keys):
            for placed in list(instance.computing.get(key, ())):
                self.computed(placed)

    def observe_decode(self, placed: PlacedRequest, tokens: int, decode_s: float) -> None:
        """Learn how fast an instance is from a job that ended there.

        Its decode steps are compared with what the cost model says of a step of all the jobs
        that decode there now. Prefills of others lengthen the steps on every instance, so it is the
        instance's slowness *beside the others* that corrects its predictions.

        Changes: `prefill_s` from now on.
        Cost: O(instances).
        """
        instance = placed.instance
        row, num_placed = instance.account.row, len(instance.placed) + 1
        # Those that wait for their prefill take no part in a step.
        running = min(instance.num_decoding + 1, instance.record.slots)
        mean_tokens = (self.context_tokens[row] + placed.prompt_tokens) / num_placed + tokens / 2
        step_s = instance.cost_model.totals_s(running, round(running * mean_tokens), running)
        instance.correction.observe(step_s, decode_s / (tokens - 1))
        self._compare_speeds()

    # Helpers.

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

    def _bound(self) -> None:
        """Cut the window short where its requests would fill the memory."""
        while len(self.tree) > self._max_blocks and len(self.history):
            self.history.expire_oldest()

    def _evict_s(self, instance: Instance, blocks: int) -> float:
        account = instance.account
        state = (self.tree.changes(account.holder), self.history.requests[account.row])
        if instance.eviction is None or instance.eviction[0] != state:
            instance.eviction = (state, self._eviction_curve(instance))
        return instance.eviction[1].cost_s(blocks)

    def _eviction_curve(self, instance: Instance) -> EvictionCurve:
        account = instance.account
        victims = self.tree.victims(account.holder, account.leaves)
        prefill_s = _node_prefill_s(instance.cost_model, self.block_size)
        return EvictionCurve(victims, float(self.history.requests[account.row]), prefill_s)

    def _forget_cache(self, instance: Instance) -> None:
        self.tree.clear(instance.account.holder)
        self.history.forget(instance.account)
        instance.eviction = None

    def _free_holder(self) -> int:
        taken = {instance.account.holder for instance in self.instances.values()}
        return next(number for number in range(len(taken) + 1) if number not in taken)

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


def _node_prefill_s(cost_model: CostModel, block_size: int) -> Callable[[int, int], float]:
    """PrefillTime of so many blocks that end a context of so many."""
    return lambda blocks, end: cost_model.prefill_s(blocks * block_size, end * block_size)

"""The outlook: what a request would meet on each instance, in seconds and in KV memory."""

from collections.abc import Callable, Sequence

import numpy as np

from preble.cost_model import CostModel
from preble.eviction import EvictionCurve
from preble.fleet.columns import Columns
from preble.history import Column
from preble.instance import Instance
from preble.prefix_tree import Match, Node, holders_of


class Outlook(Columns):
    """What policies ask of a fleet. Nothing here changes anything."""

    # What it holds.

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

    def fills_no_block(self, prompt_tokens: int, resident_tokens: int) -> bool:
        """Whether a prefill stores no block, of whose end no event tells then."""
        full_tokens = prompt_tokens // self.block_size * self.block_size
        return resident_tokens >= full_tokens - 1  # one token is always computed

    # Seconds.

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

    def node_prefill_s(self, node: Node) -> float:
        """Seconds to compute a node's run, on the first instance.

        Raises:
            IndexError: If there is none.
        """
        prefill_s = _node_prefill_s(self.rows[0].cost_model, self.block_size)
        return prefill_s(len(node.keys), node.start + len(node.keys))

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

    # Helpers.

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


def _node_prefill_s(cost_model: CostModel, block_size: int) -> Callable[[int, int], float]:
    """PrefillTime of so many blocks that end a context of so many."""
    return lambda blocks, end: cost_model.prefill_s(blocks * block_size, end * block_size)

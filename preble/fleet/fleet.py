"""The fleet: instances come and go, and so do the jobs placed on them."""

from collections.abc import Iterable, Sequence

from preble.cost_model import CostModel
from preble.fleet.outlook import Outlook
from preble.history import Account
from preble.instance import Instance, PlacedRequest
from preble.messages import InstanceRecord, JobId
from preble.prefix_tree import Match


class Fleet(Outlook):
    """Live instances, the tree of what they hold, and what was placed on them.

    Args:
        block_size: Tokens in a block.
        history_s: The window H.
    """

    def __init__(self, *, block_size: int, history_s: float) -> None:
        super().__init__(block_size=block_size, history_s=history_s)
        self._placed: dict[JobId, PlacedRequest] = {}

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

    def _bound(self) -> None:
        """Cut the window short where its requests would fill the memory."""
        while len(self.tree) > self._max_blocks and len(self.history):
            self.history.expire_oldest()

    def _forget_cache(self, instance: Instance) -> None:
        self.tree.clear(instance.account.holder)
        self.history.forget(instance.account)
        instance.eviction = None

    def _free_holder(self) -> int:
        taken = {instance.account.holder for instance in self.instances.values()}
        return next(number for number in range(len(taken) + 1) if number not in taken)

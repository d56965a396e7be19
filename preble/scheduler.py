"""The Scheduler: folds what happens into its state, and decides where jobs go.

Pure and synchronous: no I/O, no clock of its own; `scheduler_process` moves the messages.
The state has three parts, all rebuilt from Redis by a new leader:

    instances     who is alive, with load history and the jobs placed on each
    prefix tree   what each instance holds (its events), and is expected to hold (its jobs)
    policy        the rule

Expected blocks of a job cover its whole prompt, not only what was missing when it was
placed: the held part may be evicted before the job runs, and is then computed again.
"""

from collections.abc import Sequence

from preble.cost_model import load_cost_model
from preble.instance import Instance
from preble.messages import (
    AllBlocksCleared,
    Assignment,
    BlocksRemoved,
    BlocksStored,
    Candidate,
    EventBatch,
    InstanceId,
    InstanceRecord,
    JobEnded,
    JobId,
    PlacedJob,
    Snapshot,
    WaitingJob,
    unpack_keys,
)
from preble.policy.choice import Choice, Option, Policy
from preble.prefix_tree import PrefixTree


class Scheduler:
    """Decides for one pool. All times are seconds of the caller's clock.

    Args:
        policy: The rule.
        block_size: Tokens in a block.
        history_s: The window H.
    """

    def __init__(self, policy: Policy, *, block_size: int, history_s: float) -> None:
        self._policy = policy
        self._block_size = block_size
        self._history_s = history_s
        self._tree = PrefixTree()
        self._instances: dict[InstanceId, Instance] = {}
        self._by_slot: dict[int, Instance] = {}
        self._instance_of: dict[JobId, InstanceId] = {}

    @property
    def instances(self) -> Sequence[InstanceRecord]:
        """Records of the live instances, ordered by id."""
        return [self._instances[instance_id].record for instance_id in sorted(self._instances)]

    @property
    def cached_blocks(self) -> int:
        """Distinct blocks that some instance holds."""
        return len(self._tree)

    # What happens to instances.

    def join(self, record: InstanceRecord) -> None:
        """An instance began a life. An earlier life's blocks are forgotten, its jobs are not.

        Jobs in the instance's queue outlive the worker; leased ones come back by `forget`.

        Raises:
            ConfigError: If the instance names a cost model that is not known here.
        """
        cost_model = load_cost_model(record.cost_model)
        earlier = self._instances.get(record.instance_id)
        if earlier and earlier.record.epoch == record.epoch:
            return
        slot = earlier.slot if earlier else self._free_slot()
        instance = Instance(record, slot, cost_model, history_s=self._history_s)
        if earlier:
            self._tree.clear(slot)
            instance.placed = earlier.placed
        self._instances[record.instance_id] = instance
        self._by_slot[slot] = instance
        self._sort()

    def leave(self, instance_id: InstanceId) -> None:
        """An instance is gone, with all it held and was expected to hold."""
        instance = self._instances.get(instance_id)
        if instance is None:
            return
        for job_id in list(instance.placed):
            self.forget(job_id)
        self._tree.clear(instance.slot)
        del self._instances[instance_id], self._by_slot[instance.slot]

    def fold(self, batch: EventBatch) -> bool:
        """Take in block events of an instance.

        Returns:
            False if batches before this one are missing: load a snapshot, then go on. A
            batch of another life of the instance, or one folded before, changes nothing.
        """
        instance = self._instances.get(batch.instance_id)
        if instance is None or batch.epoch != instance.record.epoch:
            return True
        if batch.seq <= instance.event_seq:
            return True
        if batch.seq != instance.event_seq + 1:
            return False
        instance.event_seq = batch.seq
        for event in batch.events:
            self._fold_event(instance.slot, event)
        return True

    def is_behind(self, batch: EventBatch) -> bool:
        """Whether batches before this one are still missing. Changes: nothing."""
        instance = self._instances.get(batch.instance_id)
        return (
            instance is not None
            and batch.epoch == instance.record.epoch
            and batch.seq > instance.event_seq + 1
        )

    def restart_blocks(self, batch: EventBatch) -> None:
        """Forget what an instance held and go on from this batch: what is missing is lost.

        Hits on blocks held from before are missed until they are evicted or stored anew.
        """
        instance = self._instances[batch.instance_id]
        self._tree.clear(instance.slot)
        instance.event_seq = batch.seq - 1
        self.fold(batch)

    def load_snapshot(self, snapshot: Snapshot) -> None:
        """Replace what an instance holds. A snapshot older than what was folded is ignored."""
        instance = self._instances.get(snapshot.instance_id)
        if instance is None or snapshot.epoch != instance.record.epoch:
            return
        if snapshot.seq <= instance.event_seq:
            return
        self._tree.clear(instance.slot)
        self._tree.store(unpack_keys(snapshot.block_keys), instance.slot)
        instance.event_seq = snapshot.seq

    # What happens to jobs.

    def restore(self, job: PlacedJob, *, now_s: float) -> None:
        """A job was placed by an earlier leader: count it as if it had been placed now."""
        instance = self._instances.get(job.instance_id)
        if instance is None or job.job_id in self._instance_of:
            return
        keys = unpack_keys(job.block_keys)
        prompt_tokens = job.spec.prompt_tokens
        blocks = self._tree.resident_depth(keys, instance.slot)
        prefill_s = _prefill_s(instance, prompt_tokens, self._hit_tokens(blocks, prompt_tokens))
        self._place(job.job_id, instance, keys, prompt_tokens, prefill_s, now_s)

    def assign(self, job: WaitingJob, *, now_s: float) -> Assignment | None:
        """Decide where a job goes, and count it there at once.

        Returns:
            The assignment; None while no instance is alive. If the move then fails, take
            it back with `forget`.

        Cost: O(distinct depths · log blocks) to match, O(instances) to weigh, O(blocks) to
        expect.
        """
        if not self._instances:
            return None
        self.forget(job.job_id)  # it waits again: whatever was believed of it is over
        keys = unpack_keys(job.block_keys)
        prompt_tokens = job.spec.prompt_tokens
        options = self._options(keys, prompt_tokens, now_s)
        choice = self._policy.choose(options, prompt_tokens=prompt_tokens)
        assignment = self._record(job, choice, options, keys)
        option = choice.option
        self._place(job.job_id, option.instance, keys, prompt_tokens, option.prefill_s, now_s)
        return assignment

    def ended(self, end: JobEnded, *, now_s: float) -> None:
        """A job ended: learn its output length, drop what was expected of it."""
        if end.completion_tokens and (instance := self._instances.get(end.instance_id)):
            instance.history.observe_output(end.completion_tokens, now_s=now_s)
        self.forget(end.job_id)

    def forget(self, job_id: JobId) -> None:
        """A job is no longer on its instance; unknown jobs are skipped."""
        instance_id = self._instance_of.pop(job_id, None)
        if instance_id is None:
            return
        instance = self._instances[instance_id]
        self._tree.unexpect(instance.placed.pop(job_id), instance.slot)

    # Helpers.

    def _free_slot(self) -> int:
        slot = 0
        while slot in self._by_slot:
            slot += 1
        return slot

    def _sort(self) -> None:
        self._instances = dict(sorted(self._instances.items()))

    def _fold_event(
        self, slot: int, event: BlocksStored | BlocksRemoved | AllBlocksCleared
    ) -> None:
        match event:
            case BlocksStored(block_keys):
                self._tree.store(unpack_keys(block_keys), slot)
            case BlocksRemoved(block_keys):
                self._tree.remove(unpack_keys(block_keys), slot)
            case AllBlocksCleared():
                self._tree.clear(slot)

    def _hit_tokens(self, blocks: int, prompt_tokens: int) -> int:
        """Tokens of a held depth. An engine computes at least the last token of a prompt."""
        return min(blocks * self._block_size, prompt_tokens - 1)

    def _options(self, keys: list[int], prompt_tokens: int, now_s: float) -> list[Option]:
        slots = sum(1 << slot for slot in self._by_slot)
        depths = self._tree.match(keys, slots)
        options: list[Option] = []
        for instance in self._instances.values():
            hit_tokens = self._hit_tokens(depths[instance.slot], prompt_tokens)
            load_s = instance.history.load_s(now_s=now_s)
            prefill_s = _prefill_s(instance, prompt_tokens, hit_tokens)
            options.append(Option(instance, hit_tokens, load_s, prefill_s))
        return options

    def _record(
        self, job: WaitingJob, choice: Choice, options: Sequence[Option], keys: list[int]
    ) -> Assignment:
        chosen = choice.option
        resident_blocks = self._tree.resident_depth(keys, chosen.instance.slot)
        resident = self._hit_tokens(resident_blocks, job.spec.prompt_tokens)
        return Assignment(
            job_id=job.job_id,
            instance_id=chosen.instance.record.instance_id,
            policy=self._policy.name,
            reason=choice.reason,
            resident_hit_tokens=resident,
            expected_hit_tokens=chosen.hit_tokens - resident,
            available_hit_tokens=max(option.hit_tokens for option in options),
            prefill_s=chosen.prefill_s,
            candidates=tuple(
                Candidate(o.instance.record.instance_id, o.hit_tokens, o.load_s, o.prefill_s)
                for o in options
            ),
        )

    def _place(
        self, job_id: JobId, instance: Instance, keys: list[int], prompt_tokens: int,
        prefill_s: float, now_s: float,
    ) -> None:  # fmt: skip
        instance.placed[job_id] = keys
        self._instance_of[job_id] = instance.record.instance_id
        self._tree.expect(keys, instance.slot)
        token_decode_s = instance.cost_model.decode_s(1, prompt_tokens)
        instance.history.place(prefill_s, token_decode_s, now_s=now_s)


def _prefill_s(instance: Instance, prompt_tokens: int, hit_tokens: int) -> float:
    """P: seconds to prefill what the prompt misses there."""
    return instance.cost_model.prefill_s(prompt_tokens - hit_tokens, prompt_tokens)

"""The Scheduler: folds what happens into its state, and decides where jobs go.

Pure and synchronous: no I/O, no clock of its own; `leadership` moves the messages, and
the simulator calls the same code. The state has two parts, both rebuilt from Redis by a new
leader, beside the rule, `policy`:

    fleet           who is alive, what each holds and is expected to hold, what was placed on each
    expectations    until when what was placed is expected
"""

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from preble.cost_model import load_cost_model
from preble.decision import assignment_of
from preble.expectations import Expectations
from preble.fleet import Fleet
from preble.instance import Instance, PlacedRequest
from preble.messages import (
    AllBlocksCleared,
    Assignment,
    BlocksRemoved,
    BlocksStored,
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
from preble.planning import Planner
from preble.policy import Options, Policy
from preble.prefix_tree import EVERYTHING, Drawing, Selection, draw

_MIN_DECODE_TOKENS: Final = 8
"""Of a job whose decode time says how fast its instance is."""


class Scheduler:
    """Decides for one pool. All times are seconds of the caller's clock.

    Args:
        policy: The rule.
        block_size: Tokens in a block.
        history_s: The window H.
    """

    def __init__(self, policy: Policy, *, block_size: int, history_s: float) -> None:
        self._policy = policy
        self._fleet = Fleet(block_size=block_size, history_s=history_s)
        self._planner = Planner(self._fleet, policy)
        self._expectations = Expectations(self._fleet)

    @property
    def instances(self) -> Sequence[InstanceRecord]:
        """Records of the live instances, ordered by id."""
        return [instance.record for instance in self._fleet.rows]

    @property
    def cached_blocks(self) -> int:
        """Distinct blocks that some instance holds. Cost: O(nodes of the tree)."""
        return self._fleet.tree.cached_blocks

    @property
    def known_blocks(self) -> int:
        """Distinct blocks that are held, or that a job of the window or under way asks for."""
        return len(self._fleet.tree)

    @property
    def load_imbalance(self) -> float:
        """L of the busiest instance over the mean; 1 while nothing was placed in the window."""
        load_s = self._fleet.history.load_s
        return float(load_s.max() / load_s.mean()) if load_s.any() else 1.0

    def draw(
        self, selection: Selection = EVERYTHING, *, instance_id: InstanceId | None = None
    ) -> Drawing:
        """The prefix tree, or what a live instance holds. Cost: O(nodes + drawn · log nodes)."""
        names = {each.account.holder: each.record.instance_id for each in self._fleet.rows}
        if instance_id is not None:
            holder = self._fleet.instances[instance_id].account.holder
            selection = replace(selection, holder=holder)
        return draw(self._fleet.tree, names, selection)

    # What happens to instances.

    def join(self, record: InstanceRecord) -> None:
        """An instance began a life. An earlier life's blocks are forgotten, its jobs are not.

        Jobs in the instance's queue outlive the worker; leased ones come back by `forget`.

        Raises:
            ConfigError: If the instance names a cost model that is not known here.
        """
        cost_model = load_cost_model(record.cost_model)
        earlier = self._fleet.instances.get(record.instance_id)
        if earlier is None or earlier.record.epoch != record.epoch:
            self._fleet.join(record, cost_model)

    def leave(self, instance_id: InstanceId) -> None:
        """An instance is gone, with all it held and was expected to hold."""
        if instance := self._fleet.instances.get(instance_id):
            self._fleet.leave(instance)

    def fold(self, batch: EventBatch) -> bool:
        """Take in block events of an instance.

        Returns:
            False if batches before this one are missing: load a snapshot, then go on. A
            batch of another life of the instance, or one folded before, changes nothing.

        Cost: O(blocks).
        """
        instance = self._fleet.instances.get(batch.instance_id)
        if instance is None or batch.epoch != instance.record.epoch:
            return True
        if batch.seq <= instance.event_seq:
            return True
        if batch.seq != instance.event_seq + 1:
            return False
        instance.event_seq = batch.seq
        for event in batch.events:
            self._fold_event(instance, event)
        return True

    def is_behind(self, batch: EventBatch) -> bool:
        """Whether batches before this one are still missing. Changes: nothing."""
        instance = self._fleet.instances.get(batch.instance_id)
        return (
            instance is not None
            and batch.epoch == instance.record.epoch
            and batch.seq > instance.event_seq + 1
        )

    def restart_blocks(self, batch: EventBatch) -> None:
        """Forget what an instance held and go on from this batch: what is missing is lost.

        Hits on blocks held from before are missed until they are evicted or stored anew, and
        so are hits on what follows them.
        """
        instance = self._fleet.instances[batch.instance_id]
        self._fleet.tree.clear(instance.account.holder)
        instance.event_seq = batch.seq - 1
        self.fold(batch)

    def load_snapshot(self, snapshot: Snapshot) -> None:
        """Replace what an instance holds. A snapshot older than what was folded is ignored."""
        instance = self._fleet.instances.get(snapshot.instance_id)
        if instance is None or snapshot.epoch != instance.record.epoch:
            return
        if snapshot.seq <= instance.event_seq:
            return
        self._fleet.tree.clear(instance.account.holder)
        for run in snapshot.runs:
            self._store(instance, run)
        instance.event_seq = snapshot.seq

    # What happens to jobs.

    def restore(self, job: PlacedJob, *, now_s: float) -> None:
        """A job was placed by an earlier leader: count it as if it had been placed now."""
        instance = self._fleet.instances.get(job.instance_id)
        if instance is None or self._fleet.placed(job.job_id):
            return
        keys, prompt_tokens = unpack_keys(job.block_keys), job.spec.prompt_tokens
        match = self._fleet.tree.match(keys, 1 << instance.account.holder)
        resident = self._fleet.resident_tokens(match, instance, prompt_tokens)
        prefill_s = instance.cost_model.prefill_s(prompt_tokens - resident, prompt_tokens)
        placed = self._fleet.place(
            job.job_id, instance, keys, match, prompt_tokens=prompt_tokens, hit_tokens=resident,
            prefill_s=prefill_s, now_s=now_s,
        )  # fmt: skip
        self._expectations.remember(placed, resident)

    def assign(self, job: WaitingJob, *, now_s: float) -> Assignment | None:
        """Eager binding: decide where a job goes, and count it there at once.

        Returns:
            The assignment; None while no instance is alive. If the move then fails, take
            it back with `forget`.

        Cost: O(log blocks + nodes on the path) to match, O(instances) to weigh, O(blocks not
        known) to count.
        """
        if not self._fleet.instances:
            return None
        self._expectations.expire(now_s)
        assignment, placed = self._decide(job, now_s)
        self._expectations.remember(placed, assignment.resident_hit_tokens)
        return assignment

    def plan(
        self, jobs: Sequence[WaitingJob], *, credit_s: float, now_s: float
    ) -> list[Assignment]:
        """Planned late binding: assign what an instance has use for now, leave the rest waiting.

        Fair among priorities and tenants; how, stands in `planning`.

        Args:
            jobs: The first that wait of each ingress queue, in its order.
            credit_s: Seconds of predicted prefill that an instance is given ahead.
            now_s: Clock seconds.

        Returns:
            What to move now; take a failed move back with `forget`.

        Cost: less than that of `assign` for each job, if any instance has credit and anything
        changed since the last plan.
        """
        self._expectations.expire(now_s)
        planned = self._planner.plan(jobs, credit_s=credit_s, now_s=now_s)
        for assignment, placed in planned:
            self._expectations.remember(placed, assignment.resident_hit_tokens)
        return [assignment for assignment, _ in planned]

    def has_credit(self, credit_s: float, *, now_s: float) -> bool:
        """Whether a plan could move anything that waits. Cost: O(instances)."""
        self._expectations.expire(now_s)
        return self._planner.has_credit(credit_s)

    def ended(self, end: JobEnded, *, now_s: float) -> None:
        """A job ended: learn from it, drop what was expected of it."""
        placed = self._fleet.forget(end.job_id)
        instance = self._fleet.instances.get(end.instance_id)
        if instance is None or not end.completion_tokens:
            return
        stay_s = now_s - placed.placed_at_s if placed else self._fleet.history.mean_stay_s
        self._fleet.history.observe_output(
            instance.account, end.completion_tokens, stay_s=stay_s, now_s=now_s
        )
        if placed is not None and placed.instance is instance:
            self._learn(placed, end, now_s)

    def is_placed(self, job_id: JobId) -> bool:
        """Whether a job is on an instance, as far as it was heard."""
        return self._fleet.placed(job_id) is not None

    def forget(self, job_id: JobId) -> None:
        """A job is no longer on its instance; unknown jobs are skipped."""
        self._fleet.forget(job_id)

    # Helpers.

    def _fold_event(
        self, instance: Instance, event: BlocksStored | BlocksRemoved | AllBlocksCleared
    ) -> None:
        match event:
            case BlocksStored():
                self._store(instance, event)
            case BlocksRemoved(block_keys):
                self._fleet.tree.remove(unpack_keys(block_keys), instance.account.holder)
            case AllBlocksCleared():
                self._fleet.tree.clear(instance.account.holder)

    def _store(self, instance: Instance, run: BlocksStored) -> None:
        """A run that follows a block lost to `restart_blocks` is left out: it cannot be hit."""
        keys = unpack_keys(run.block_keys)
        if self._fleet.tree.store(keys, instance.account.holder, parent_key=run.parent_key):
            self._fleet.stored(instance, keys)

    def _decide(self, job: WaitingJob, now_s: float) -> tuple[Assignment, PlacedRequest]:
        """Let the policy choose, and place the job there, to be remembered or forgotten."""
        fleet = self._fleet
        fleet.forget(job.job_id)  # it waits again: whatever was believed of it is over
        keys, prompt_tokens = unpack_keys(job.block_keys), job.spec.prompt_tokens
        match = fleet.tree.match(keys, fleet.mask)
        options = Options(
            fleet, job.job_id, keys, match, prompt_tokens=prompt_tokens,
            max_new_tokens=job.spec.sampling.max_new_tokens, now_s=now_s,
        )  # fmt: skip
        choice = self._policy.choose(options)
        assignment = assignment_of(options, choice, policy=self._policy.name)
        placed = fleet.place(
            job.job_id, fleet.rows[choice.row], keys, match, prompt_tokens=prompt_tokens,
            hit_tokens=options.hits[choice.row], prefill_s=assignment.prefill_s, now_s=now_s,
        )  # fmt: skip
        return assignment, placed

    def _learn(self, placed: PlacedRequest, end: JobEnded, now_s: float) -> None:
        """How long it waited for its prefill to begin, and how fast its instance decodes."""
        history = self._fleet.history
        if placed.leaf is not None:
            ran_s = placed.prefill_s + end.decode_s
            wait_s = max(0.0, now_s - placed.placed_at_s - ran_s)
            self._policy.waited(placed.leaf, wait_s, now_s=now_s, window_s=history.window_s)
        if end.completion_tokens >= _MIN_DECODE_TOKENS and end.decode_s > 0:
            self._fleet.observe_decode(placed, end.completion_tokens, end.decode_s)

"""What a scheduler decides about, and what it decided."""

from collections.abc import Sequence

import msgspec

from preble.messages.instances import InstanceId
from preble.messages.jobs import JobId, JobSpec
from preble.messages.packing import BlockKeys


class WaitingJob(msgspec.Struct, frozen=True):
    """A job in an ingress queue, as the scheduler sees it."""

    job_id: JobId
    ingress: str
    spec: JobSpec
    block_keys: BlockKeys
    waited_s: float = 0.0
    """Since it was submitted, by the queue's clock."""
    runs_alone: bool = False
    """Whether it waits in the quarantine."""


class Candidate(msgspec.Struct, frozen=True):
    """One instance considered for a job, and what the job would cost there."""

    instance_id: InstanceId
    hit_tokens: int
    load_s: float
    prefill_s: float
    eviction_s: float
    outstanding: int
    cost: float | None


class Weighing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a policy weighed, an entry for each instance considered; columns, to be cheap."""

    instance_ids: list[InstanceId] = []
    hit_tokens: list[int] = []
    load_s: list[float] = []
    """L: seconds placed there in the window."""
    prefill_s: list[float] = []
    """P: seconds to prefill what it misses there."""
    eviction_s: list[float] = []
    """M: seconds lost by making room; empty where the policy does not weigh it."""
    outstanding: list[int] = []
    """Jobs there that had not ended."""
    cost: list[float] = []
    """What the policy minimized, in its own unit; empty if it weighs nothing."""


class Assignment(msgspec.Struct, frozen=True, array_like=True):
    """The decision job → instance, with its reason: the job's decision record."""

    job_id: JobId
    instance_id: InstanceId
    policy: str
    reason: str
    resident_hit_tokens: int
    expected_hit_tokens: int
    available_hit_tokens: int
    prefill_s: float
    weighed: Weighing = Weighing()

    @property
    def predicted_hit_tokens(self) -> int:
        """Hit tokens predicted on the chosen instance, resident and expected."""
        return self.resident_hit_tokens + self.expected_hit_tokens

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The instances considered, ordered by id."""
        weighed = self.weighed
        number = len(weighed.instance_ids)
        eviction_s = weighed.eviction_s or [0.0] * number
        cost: Sequence[float | None] = weighed.cost or [None] * number
        columns = (
            weighed.instance_ids, weighed.hit_tokens, weighed.load_s, weighed.prefill_s,
            eviction_s, weighed.outstanding, cost,
        )  # fmt: skip
        return tuple(Candidate(*each) for each in zip(*columns, strict=True))


class PlacedJob(msgspec.Struct, frozen=True):
    """A job that is assigned to or running on an instance."""

    job_id: JobId
    instance_id: InstanceId
    spec: JobSpec
    block_keys: BlockKeys

"""What can be seen of a pool and its Redis at one moment, as plain figures.

`redis_facts` collects them, `preble.doctor` judges them. Nothing here holds a prompt, an
output or a secret. Ages and remaining times are seconds of Redis' clock at that moment.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from preble.broker.agreement import SCHEMA
from preble.messages import InstanceId, InstanceRecord, JobId, PoolRecord

JobPart = Literal["record", "prompt", "block keys"]
"""What a job that has not ended must have in Redis."""


class SlowCommand(msgspec.Struct, frozen=True):
    """A command that held everybody else up."""

    name: str
    took_ms: float
    ended_ago_s: float


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The Redis server itself."""

    software: Literal["Redis", "Valkey"]
    version: str
    mode: str
    """`standalone`, `cluster` or `sentinel`."""
    role: str
    """`master`, or `slave` for a replica."""
    replicas: int
    """Connected to it."""
    is_append_only: bool
    appendfsync: str | None
    """None where the server does not tell."""
    failing_writes: tuple[str, ...]
    """Fields of INFO by which the last write to disk of some kind failed."""
    maxmemory_bytes: int
    """0 for no bound."""
    maxmemory_policy: str
    used_memory_bytes: int
    system_memory_bytes: int
    """Of its machine; 0 where the server does not tell."""
    min_replicas_to_write: int | None = None
    """Without which it refuses writes; None where the server does not tell."""
    evicted_keys: int
    """Since it was started."""
    round_trips_ms: tuple[float, ...]
    """Of pings, one after the other."""
    slow_commands: tuple[SlowCommand, ...]
    """The newest of its slow log that took long enough to matter."""


class BlockEventFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How far an instance's snapshot and its stream of block events reach.

    Batches are numbered from 1 in each life; all numbers are of the instance's present life.
    """

    batches: int
    """In the stream."""
    most_batches: int
    """That the stream keeps; what is older is trimmed."""
    last_seq: int
    """Newest batch in the stream; 0 if there is none of this life."""
    snapshot_seq: int
    """Newest batch that the snapshot holds; 0 without a snapshot of this life."""
    is_taken_over: bool
    """Whether the newest batch is another life's."""

    @property
    def batches_since_snapshot(self) -> int:
        """Batches that a new leader must follow."""
        return max(0, self.last_seq - self.snapshot_seq)

    @property
    def lost_batches(self) -> int:
        """Batches of those that the stream has no more: it is trimmed at its old end."""
        return max(0, self.batches_since_snapshot - self.batches)


class InstanceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that is registered."""

    instance_id: InstanceId
    record: InstanceRecord | None
    """None if its hash is gone, or not to be read."""
    lease_left_s: float | None
    """Below 0 once it ran out; None for one that left and was not taken off yet."""
    assigned_jobs: int
    running_jobs: int
    heartbeat_ago_s: float | None
    """Of its record in RQ; None if it has none."""
    events: BlockEventFacts

    @property
    def is_alive(self) -> bool:
        """Whether jobs may be routed to it."""
        return self.lease_left_s is not None and self.lease_left_s > 0


class IngressFacts(msgspec.Struct, frozen=True):
    """An ingress queue with jobs."""

    priority: str
    tenant: str
    jobs: int
    oldest_s: float | None
    """Since the oldest of the sampled jobs at its head was submitted."""


class StrandedQueue(msgspec.Struct, frozen=True):
    """The queue of an instance that is not registered."""

    instance_id: InstanceId
    jobs: int


class OverdueLease(msgspec.Struct, frozen=True):
    """A lease that ran out and was not taken back."""

    job_id: JobId
    instance_id: InstanceId | None
    overdue_s: float


class DamagedJob(msgspec.Struct, frozen=True):
    """A job that is queued or running though a part of it is gone."""

    job_id: JobId
    missing: tuple[JobPart, ...]


class JobFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs of a pool that have not ended."""

    ingresses: tuple[IngressFacts, ...]
    stranded: tuple[StrandedQueue, ...]
    leases: int
    released: int
    """Leases that were given up, for the next REAP to take back."""
    overdue: int
    """Leases that ran out well before the last REAP should have been."""
    overdue_sample: tuple[OverdueLease, ...]
    late: int
    """Jobs that did not end though their deadline passed well before the last REAP."""
    counted: int
    """Jobs that count towards `max_jobs`."""
    prompt_bytes: int
    ended_bytes: int
    """Of jobs that have ended, as counted."""
    recounted_ended_bytes: int | None
    """The same, added up; None where so many have ended that this would take long."""
    is_whole: bool
    """Whether `counted` and the lengths of all queues are of one moment."""
    sampled: int
    """Jobs that were looked at one by one."""
    damaged: tuple[DamagedJob, ...]
    longest_run_s: float | None
    """Since its claim, of the sampled jobs that run; None if there are none."""
    totals: Mapping[str, int]
    """Jobs that ended, by state, and other counts since the pool began."""

    @property
    def waiting(self) -> int:
        """Jobs in ingress queues."""
        return sum(ingress.jobs for ingress in self.ingresses)


class RollbackFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The last time that Redis turned out to have lost writes."""

    lost_s: float | None
    """Of how long, at most; None if all that it held was lost."""
    ago_s: float
    rollbacks: int
    """So many so far."""


class PoolFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A pool: who runs it, and what it holds."""

    record: PoolRecord | None
    """None if the pool was never founded."""
    schema: int = SCHEMA
    """Of its keys and messages."""
    leader_lease_s: float | None
    """What is left of the leader's lease; None without a leader."""
    terms: int
    """How often leadership began so far."""
    instances: tuple[InstanceFacts, ...]
    jobs: JobFacts
    drained: tuple[InstanceId, ...] = ()
    """Those that get no more jobs, whether they are there or not."""
    rollback: RollbackFacts | None = None
    """None if no scheduler has noticed one."""

    @property
    def alive(self) -> tuple[InstanceFacts, ...]:
        """Instances that jobs may be routed to."""
        return tuple(instance for instance in self.instances if instance.is_alive)

    @property
    def assigned(self) -> int:
        """Jobs in the queues of instances, registered or not."""
        queued = sum(instance.assigned_jobs for instance in self.instances)
        return queued + sum(queue.jobs for queue in self.jobs.stranded)

    @property
    def unaccounted(self) -> int | None:
        """Jobs that count but are in no queue and have no lease; None if it cannot be told."""
        jobs = self.jobs
        if not jobs.is_whole:
            return None
        return jobs.counted - jobs.waiting - self.assigned - jobs.leases


class Facts(msgspec.Struct, frozen=True):
    """One look at a pool and its Redis."""

    server: ServerFacts
    pool: PoolFacts | None
    """None where no pool can be: on a cluster, or a Sentinel."""

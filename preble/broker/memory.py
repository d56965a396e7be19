"""A broker inside one process: for simulations, and the reference for the Lua scripts.

The same calls, the same outcomes as `RedisBroker` (the conformance suite runs on both), in
plain Python: read it to learn what the scripts do. Nothing survives the process.

    memory.py            the protocol's calls, and those scripts that are a few lines here
    memory_state.py      what they share, as `lib.lua` and `endings.lua`
    memory_ended.py      what is kept of jobs that have ended
    memory_admission.py  ADMIT, RETRY
    memory_leader.py     LEAD, RESIGN
    memory_agreement.py  what processes have in common
    memory_bulletin.py   what a scheduler loads and follows
    memory_counts.py     how much there is
    memory_custody.py    CUSTODY
    memory_notes.py      NOTE
    memory_leases.py     REGISTER, CLAIM, RENEW, RELEASE, DONE
    memory_reaping.py    REAP
    memory_roster.py     DRAIN, RESUME
    memory_lists.py      LIST, dead letters
    memory_streams.py    TELL, inboxes and logs
    memory_webhooks.py   WEBHOOK_TAKE, WEBHOOK_SETTLE, WEBHOOK_RETRY
"""

from collections.abc import Sequence

from preble.broker.answers import CANCELLED, Admitted, Retried
from preble.broker.bounds import Bounds
from preble.broker.lists import JobPage, JobQuery, without_positions
from preble.broker.memory_admission import MemoryAdmission
from preble.broker.memory_agreement import MemoryAgreement
from preble.broker.memory_bulletin import MemoryBulletin
from preble.broker.memory_counts import MemoryCounts
from preble.broker.memory_custody import MemoryCustody
from preble.broker.memory_leader import MemoryLeader
from preble.broker.memory_leases import claim, finish, register, release, renew
from preble.broker.memory_lists import page_of
from preble.broker.memory_notes import MemoryNotes
from preble.broker.memory_reaping import reap
from preble.broker.memory_records import Job
from preble.broker.memory_roster import MemoryRoster
from preble.broker.memory_state import MemoryState
from preble.broker.memory_streams import MemoryStreams
from preble.broker.memory_webhooks import MemoryWebhooks
from preble.clock import Clock, SystemClock
from preble.messages import (
    NO_REPORT,
    Assignment,
    ClaimedJob,
    InstanceId,
    InstanceRecord,
    InstanceReport,
    JobId,
    JobState,
    JobView,
    LeaderToken,
    Lease,
    Outcome,
    Reaped,
    Ring,
    Submission,
    WaitingJob,
)


class MemoryBroker:
    """The queue of one pool in memory. Implements `preble.broker.Broker`."""

    def __init__(
        self, *, clock: Clock | None = None, max_jobs: int = 100_000,
        max_prompt_bytes: int = 1 << 30, max_ingresses: int = 1_000, max_tenant_jobs: int = 0,
        tenant_jobs_per_s: float = 0.0, max_dead_letter_bytes: int = 1 << 28,
        max_ended_bytes: int = 1 << 30, max_attempts: int = 5,
    ) -> None:  # fmt: skip
        self._clock = clock or SystemClock()
        bounds = Bounds(
            max_jobs, max_prompt_bytes, max_ingresses, max_tenant_jobs, tenant_jobs_per_s,
            max_dead_letter_bytes, max_ended_bytes,
        )  # fmt: skip
        self._state = MemoryState(self._clock, bounds)
        self._admission = MemoryAdmission(self._state, bounds)
        self._leader = MemoryLeader(self._clock)
        self.agreement = MemoryAgreement()
        self.bulletin = MemoryBulletin(self._state)
        self.counts = MemoryCounts(self._state)
        self.custody = MemoryCustody(self._clock)
        self.roster = MemoryRoster(self._state)
        self.notes = MemoryNotes(self._state)
        self.streams = MemoryStreams(self._state)
        self.webhooks = MemoryWebhooks(self._state)
        self._max_attempts = max_attempts

    async def close(self) -> None:
        """Nothing to release."""

    # The api's calls.

    async def admit(self, batches: Sequence[Sequence[Submission]]) -> list[Admitted]:
        """Take new jobs, each batch whole or not at all."""
        return [self._admission.admit(batch) for batch in batches]

    async def view(self, job_id: JobId) -> JobView | None:
        """A job as it stands."""
        job = self._state.jobs.get(job_id)
        return job.view(job_id, self._position(job_id, job)) if job else None

    async def views(self, job_ids: Sequence[JobId]) -> list[JobView | None]:
        """Jobs as they stand, without positions."""
        return without_positions([await self.view(job_id) for job_id in job_ids])

    async def cancel(self, job_ids: Sequence[JobId]) -> list[JobState | None]:
        """End jobs, wherever they stand."""
        return [self._cancel(job_id) for job_id in job_ids]

    async def list_jobs(self, query: JobQuery) -> JobPage:
        """A page of jobs."""
        return page_of(self._state.jobs, query)

    async def retry(self, job_ids: Sequence[JobId]) -> list[Retried]:
        """Let failed jobs wait again."""
        return [self._admission.retry(job_id) for job_id in job_ids]

    # The scheduler's calls.

    async def lead(self, holder: str, *, ttl_s: float) -> LeaderToken | None:
        """Become or stay the leader."""
        return self._leader.lead(holder, ttl_s=ttl_s)

    async def resign(self, token: LeaderToken) -> None:
        """Give leadership up."""
        self._leader.resign(token)

    async def peek(
        self, window_jobs: int, *, batch_window_jobs: int | None = None
    ) -> list[WaitingJob]:
        """The first jobs of each ingress queue."""
        heads = self._state.ingresses.heads(
            window_jobs, window_jobs if batch_window_jobs is None else batch_window_jobs
        )
        return [self._waiting(ingress, job_id) for ingress, job_id in heads]

    async def route(
        self, token: LeaderToken, assignments: Sequence[tuple[str, Assignment]]
    ) -> list[bool]:
        """Move waiting jobs to their instances' queues. Raises: NotLeader."""
        self._leader.require(token)
        return [self._move(*each) for each in assignments]

    async def reap(self, token: LeaderToken, *, limit: int) -> Reaped:
        """Take back what the dead hold. Raises: NotLeader."""
        self._leader.require(token)
        return reap(self._state, limit=limit, max_attempts=self._max_attempts)

    # The worker's calls.

    async def register(self, record: InstanceRecord, *, lease_s: float) -> None:
        """Begin a new life of an instance."""
        register(self._state, record, lease_s=lease_s)

    async def claim(
        self, record: InstanceRecord, *, number: int, jobs: int, tokens: int, num_held: int,
        lease_s: float,
    ) -> list[ClaimedJob]:  # fmt: skip
        """Lease jobs from the head of the instance's queue. Raises: InstanceFenced."""
        return claim(
            self._state, record, number=number, jobs=jobs, tokens=tokens, num_held=num_held,
            lease_s=lease_s,
        )  # fmt: skip

    async def listen(self, instance_id: InstanceId, *, timeout_s: float) -> frozenset[Ring]:
        """Wait until the instance's worker is called."""
        return await self._state.listen(instance_id, timeout_s=timeout_s)

    async def renew(
        self, record: InstanceRecord, leases: Sequence[Lease], *, lease_s: float,
        report: InstanceReport = NO_REPORT,
    ) -> list[Lease]:  # fmt: skip
        """Renew the instance's own lease and those of its jobs. Raises: InstanceFenced."""
        return renew(self._state, record, leases, lease_s=lease_s, report=report)

    async def finish(self, record: InstanceRecord, outcomes: Sequence[Outcome]) -> list[bool]:
        """Record how executions ended; the fence refuses lost leases."""
        return [finish(self._state, record.instance_id, outcome) for outcome in outcomes]

    async def release(
        self, record: InstanceRecord, leases: Sequence[Lease], *, is_attempt: bool
    ) -> None:
        """Hand running jobs back."""
        del record
        for lease in leases:
            release(self._state, lease, is_attempt=is_attempt)

    async def retire(self, record: InstanceRecord) -> None:
        """Leave the pool."""
        instance = self._state.instances.get(record.instance_id)
        if instance and instance.record.epoch == record.epoch:
            instance.expires_at_s, instance.has_retired = 0, True

    # Helpers.

    def _position(self, job_id: JobId, job: Job) -> int | None:
        state = self._state
        if job.state is JobState.WAITING:
            return state.ingresses.position(job_id, job)
        if job.state is JobState.ASSIGNED and job.instance_id:
            return state.instances[job.instance_id].queue.index(job_id)
        return None

    def _cancel(self, job_id: JobId) -> JobState | None:
        job = self._state.jobs.get(job_id)
        if job is None:
            return None
        self._state.stop(job_id, job, JobState.CANCELLED, CANCELLED)
        return job.state

    def _waiting(self, ingress: str, job_id: JobId) -> WaitingJob:
        job = self._state.jobs[job_id]
        waited_s = self._clock.now_s() - job.waits_since_s
        return WaitingJob(
            job_id, ingress, job.spec, job.block_keys, waited_s, runs_alone=job.is_quarantined
        )

    def _move(self, ingress: str, assignment: Assignment) -> bool:
        state, job_id, instance_id = self._state, assignment.job_id, assignment.instance_id
        instance, job = state.instances.get(instance_id), state.jobs.get(job_id)
        if not (instance and job) or not state.takes_jobs(instance):
            return False
        if job.state is not JobState.WAITING:
            return job.instance_id == instance_id
        if state.ingresses.of(job) != ingress or state.is_late(job):
            return False
        state.ingresses.remove(job_id, job)
        instance.queue.append(job_id)
        job.state, job.instance_id, job.assignment = JobState.ASSIGNED, instance_id, assignment
        job.assigned_at_s = self._clock.now_s()
        state.call(instance_id, Ring.ASSIGNED)
        return True

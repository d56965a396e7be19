"""What the calls of the memory broker share: the pool, and the steps of the Lua library.

A call reads and changes the state at will, as a script does what is in Redis; steps that more than
one of them takes are methods here, under the names that they have in Lua.
"""

import asyncio
from typing import Final

from preble.broker.bounds import Bounds
from preble.broker.ended import DROPS_AT_AN_END
from preble.broker.keys import PoolKeys
from preble.broker.memory_ended import EndedJobs
from preble.broker.memory_ingresses import Ingresses
from preble.broker.memory_lists import DeadLetters
from preble.broker.memory_records import Instance, Job, OwedWebhook
from preble.clock import Clock
from preble.messages import (
    InstanceId,
    JobEnded,
    JobFailure,
    JobId,
    JobResult,
    JobState,
    Lease,
    Ring,
    Signal,
    TokenDelta,
    Webhook,
)

POOL: Final = "memory"


class MemoryState:
    """Jobs, instances and leases of one pool, and who is to hear of them.

    Args:
        clock: Tells when things happen.
        bounds: How many bytes of prompts failed jobs keep, and jobs that have ended at all.
    """

    def __init__(self, clock: Clock, bounds: Bounds) -> None:
        self.clock = clock
        self.jobs: dict[JobId, Job] = {}
        self.num_admitted = 0
        self.ingresses = Ingresses(PoolKeys(POOL))
        self.instances: dict[InstanceId, Instance] = {}
        self.drained_at_s: dict[InstanceId, float] = {}
        """The instances that get no more jobs, there or not."""
        self.leases: dict[Lease, float] = {}
        """When each expires; 0 for those that were given up."""
        self.dead_letters = DeadLetters(bounds)
        self.ended = EndedJobs(bounds)
        self.jobless_webhooks: dict[JobId, tuple[Webhook, OwedWebhook]] = {}
        """Those of what is no job, or was dropped."""
        self.totals: dict[str, int] = {}
        self.signals: list[Signal] = []
        self.inboxes: dict[str, list[TokenDelta | JobId]] = {}
        """Of those that listen: what executions made, and jobs that ended."""
        self._rings: dict[InstanceId, set[Ring]] = {}
        self._happened = asyncio.Event()

    @property
    def prompt_bytes(self) -> int:
        """Sent with all jobs that have not ended."""
        return sum(job.num_sent_bytes for job in self.jobs.values() if not job.state.is_terminal)

    def takes_jobs(self, instance: Instance) -> bool:
        """Whether it is alive and not drained."""
        is_alive = instance.expires_at_s > self.clock.now_s()
        return is_alive and instance.record.instance_id not in self.drained_at_s

    def is_late(self, job: Job) -> bool:
        """Whether a job's deadline has come."""
        return job.deadline_at_s is not None and job.deadline_at_s <= self.clock.now_s()

    def is_leased(self, lease: Lease) -> bool:
        """Whether a lease is held; one that was given up is not, though REAP has yet to see it."""
        return self.leases.get(lease, 0) > 0

    def end_execution(self, lease: Lease) -> bool:
        """End a lease. False if it is gone: the fence."""
        return self.leases.pop(lease, None) is not None

    def make_waiting(self, job_id: JobId, job: Job) -> None:
        """Put a job back at the front of its ingress queue, or of the quarantine."""
        job.state, job.instance_id, job.execution_id = JobState.WAITING, None, None
        job.assignment, job.started_at_s = None, None
        self.ingresses.put_first(job_id, job)

    def stop(self, job_id: JobId, job: Job, state: JobState, failure: JobFailure) -> None:
        """End a job wherever it stands, unless it has ended."""
        if job.state.is_terminal:
            return
        if job.state is JobState.WAITING:
            self.ingresses.remove(job_id, job)
        elif job.state is JobState.ASSIGNED and job.instance_id:
            self.instances[job.instance_id].queue.remove(job_id)
        elif job.instance_id and job.execution_id:
            self.end_execution(Lease(job_id, job.execution_id))
            job.execution_id = None  # none ended this job, so none may later hear that it did
            self.call(job.instance_id, Ring.RECALLED)
        self.conclude(job_id, job, state, failure=failure)

    def conclude(
        self, job_id: JobId, job: Job, state: JobState, *, result: JobResult | None = None,
        failure: JobFailure | None = None,
    ) -> None:  # fmt: skip
        """Give a job its end."""
        # An api cancels, and may neither write results nor drop them (ADR 0039).
        is_cancelled = state is JobState.CANCELLED
        ran = job.state is JobState.RUNNING and not is_cancelled
        job.state, job.result, job.failure = state, result, failure
        job.ended_at_s = self.clock.now_s()
        self.dead_letters.keep(job)
        self.count(state, 1)
        self.tell(job.spec.inbox, job_id)
        if job.webhook:
            now_s = job.ended_at_s
            job.owed = OwedWebhook(job.spec.tenant, state, now_s, now_s, int(now_s * 1_000))
            self.jobless_webhooks.pop(job_id, None)
        self.ended.keep(job_id, job, ran=ran)
        if not is_cancelled:
            self.drop_oldest_ended(DROPS_AT_AN_END)
        if job.instance_id:
            tokens, decode_s = (result.completion_tokens, result.decode_s) if result else (0, 0.0)
            self.signal(JobEnded(job_id, job.instance_id, tokens, decode_s))

    def drop_oldest_ended(self, most: int) -> None:
        """Forget the first jobs that ended, at most so many, while too much is kept."""
        for job_id in self.ended.beyond(most):
            job = self.jobs.pop(job_id)
            self.ended.forget(job_id)
            self.dead_letters.forget(job)
            self.ended.dropped_until_s = job.ended_at_s or 0.0
            if job.webhook and job.owed and job.owed.status != "delivered":
                self.jobless_webhooks[job_id] = job.webhook, job.owed

    def count(self, name: str, amount: int) -> None:
        """Add to a total of the pool."""
        self.totals[name] = self.totals.get(name, 0) + amount

    def signal(self, signal: Signal) -> None:
        """Tell the schedulers."""
        self.signals.append(signal)
        self.ring()

    def tell(self, inbox: str, *entries: TokenDelta | JobId) -> None:
        """Put entries into an inbox, if it is there."""
        if inbox in self.inboxes:
            self.inboxes[inbox] += entries
            self.ring()

    def call(self, instance_id: InstanceId, ring: Ring) -> None:
        """Tell an instance's worker."""
        self._rings.setdefault(instance_id, set()).add(ring)
        self.ring()

    def ring(self) -> None:
        """Wake all that wait."""
        self._happened.set()
        self._happened = asyncio.Event()

    async def wait(self, timeout_s: float) -> None:
        """Until something happens, or the timeout."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._happened.wait()
        except TimeoutError:
            return

    async def listen(self, instance_id: InstanceId, *, timeout_s: float) -> frozenset[Ring]:
        """Wait until an instance's worker is called, or the timeout."""
        if instance_id not in self._rings:
            await self.wait(timeout_s)
        return frozenset(self._rings.pop(instance_id, ()))

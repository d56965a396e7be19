"""A broker inside one process: for simulations, and the reference for the Lua scripts.

The same calls, the same outcomes as `RedisBroker` (the conformance suite runs on both), in
plain Python: read this file to learn what the scripts do. Nothing survives the process.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from preble.broker import (
    ATTEMPTS_USED_UP,
    CANCELLED,
    DEADLINE_PASSED,
    KEY_REUSED,
    Cursor,
    News,
    PoolView,
    Refusal,
    Retried,
)
from preble.broker.agreement import require_same_pool, require_same_weights
from preble.broker.bounds import Bound, Bounds, DrainRate
from preble.broker.keys import PoolKeys
from preble.broker.lists import JobPage, JobQuery
from preble.broker.memory_ingresses import Ingresses
from preble.broker.memory_lists import DeadLetters, page_of
from preble.broker.memory_records import Instance, Job
from preble.broker.tenant_rates import TenantRates
from preble.clock import Clock, SystemClock
from preble.errors import InstanceFenced, InvariantError, KeyReused, NotLeader, QueueFull
from preble.messages import (
    QUARANTINE_AFTER,
    Assignment,
    ClaimedJob,
    EventBatch,
    ExecutionId,
    InstanceId,
    InstanceJoined,
    InstanceRecord,
    JobEnded,
    JobFailure,
    JobId,
    JobResult,
    JobsAdmitted,
    JobsReaped,
    JobState,
    JobView,
    LeaderToken,
    Lease,
    Outcome,
    PlacedJob,
    PoolRecord,
    PoolStats,
    Reaped,
    Ring,
    Signal,
    Snapshot,
    Submission,
    WaitingJob,
)

_POOL: Final = "memory"


class MemoryBroker:
    """The queue of one pool in memory. Implements `preble.broker.Broker`."""

    def __init__(
        self, *, clock: Clock | None = None, max_jobs: int = 100_000,
        max_prompt_bytes: int = 1 << 30, max_ingresses: int = 1_000, max_tenant_jobs: int = 0,
        tenant_jobs_per_s: float = 0.0, max_dead_letter_bytes: int = 1 << 28,
        max_attempts: int = 5,
    ) -> None:  # fmt: skip
        self._clock = clock or SystemClock()
        self._bounds = Bounds(
            max_jobs, max_prompt_bytes, max_ingresses, max_tenant_jobs, tenant_jobs_per_s,
            max_dead_letter_bytes,
        )  # fmt: skip
        self._rates = TenantRates(self._bounds)
        self._drain = DrainRate()
        self._dead_letters = DeadLetters(self._bounds)
        self._max_attempts = max_attempts
        self._pool: PoolRecord | None = None
        self._weights = ""
        self._jobs: dict[JobId, Job] = {}
        self._ingresses = Ingresses(PoolKeys(_POOL))
        self._instances: dict[InstanceId, Instance] = {}
        self._leases: dict[Lease, float] = {}
        self._leader: tuple[LeaderToken, float] | None = None
        self._leader_epoch = 0
        self._signals: list[Signal] = []
        self._totals: dict[str, int] = {}
        self._rings: dict[InstanceId, set[Ring]] = {}
        self._happened = asyncio.Event()

    async def close(self) -> None:
        """Nothing to release."""

    async def join_pool(self, record: PoolRecord) -> None:
        """Found the pool, or agree with it. Raises: PoolMismatch."""
        self._pool = self._pool or record
        require_same_pool(_POOL, self._pool, record)

    async def agree_on_weights(self, fingerprint: str) -> None:
        """Set the pool's weights, or agree with them. Raises: PoolMismatch."""
        self._weights = self._weights or fingerprint
        require_same_weights(_POOL, self._weights, fingerprint)

    # The api's calls.

    async def admit(self, batches: Sequence[Sequence[Submission]]) -> list[Refusal | None]:
        """Take new jobs, each batch whole or not at all."""
        return [self._admit_batch(batch) for batch in batches]

    async def view(self, job_id: JobId) -> JobView | None:
        """A job as it stands."""
        job = self._jobs.get(job_id)
        return job.view(job_id, self._position(job_id, job)) if job else None

    async def cancel(self, job_ids: Sequence[JobId]) -> list[JobState | None]:
        """End jobs, wherever they stand."""
        return [self._cancel(job_id) for job_id in job_ids]

    async def list_jobs(self, query: JobQuery) -> JobPage:
        """A page of jobs."""
        return page_of(self._jobs, query)

    async def retry(self, job_ids: Sequence[JobId]) -> list[Retried]:
        """Let failed jobs wait again."""
        return [self._retry(job_id) for job_id in job_ids]

    async def stats(self) -> PoolStats:
        """Counts of the pool."""
        return PoolStats(
            waiting=self._ingresses.num_jobs,
            assigned=sum(len(instance.queue) for instance in self._instances.values()),
            running=len(self._leases),
            prompt_bytes=self._prompt_bytes(),
            instances=len(self._instances),
            totals=dict(self._totals),
            dead_letter_bytes=self._dead_letters.num_bytes,
        )

    # The scheduler's calls.

    async def lead(self, holder: str, *, ttl_s: float) -> LeaderToken | None:
        """Become or stay the leader."""
        now_s = self._clock.now_s()
        if self._leader is None or self._leader[1] <= now_s:
            self._leader_epoch += 1
            token = LeaderToken(f"{self._leader_epoch}-{holder}")
        elif self._leader[0].partition("-")[2] == holder:
            token = self._leader[0]
        else:
            return None
        self._leader = (token, now_s + ttl_s)
        return token

    async def resign(self, token: LeaderToken) -> None:
        """Give leadership up."""
        if self._leader and self._leader[0] == token:
            self._leader = None

    async def load_pool(self) -> PoolView:
        """The whole state a new leader needs."""
        events: dict[InstanceId, str] = {}
        for instance_id in self._instances:
            events[instance_id] = (await self.load_snapshot(instance_id))[1]
        return PoolView(
            instances=tuple(instance.record for instance in self._instances.values()),
            snapshots=tuple(i.snapshot[0] for i in self._instances.values() if i.snapshot),
            placed=tuple(self._placed()),
            cursor=Cursor(str(len(self._signals)), events),
        )

    async def follow(self, cursor: Cursor, *, timeout_s: float) -> News:
        """What happened since the cursor."""
        news = self._news(cursor)
        if not (news.signals or news.batches):
            await self._wait(timeout_s)
            news = self._news(cursor)
        return news

    async def peek(
        self, window_jobs: int, *, batch_window_jobs: int | None = None
    ) -> list[WaitingJob]:
        """The first jobs of each ingress queue."""
        heads = self._ingresses.heads(
            window_jobs, window_jobs if batch_window_jobs is None else batch_window_jobs
        )
        return [self._waiting(ingress, job_id) for ingress, job_id in heads]

    async def route(
        self, token: LeaderToken, assignments: Sequence[tuple[str, Assignment]]
    ) -> list[bool]:
        """Move waiting jobs to their instances' queues. Raises: NotLeader."""
        self._require_leader(token)
        moved = [self._move(*each) for each in assignments]
        self._ring()
        return moved

    async def reap(self, token: LeaderToken, *, limit: int) -> Reaped:
        """Take back what the dead hold. Raises: NotLeader."""
        self._require_leader(token)
        expired = self._reap_late(limit)
        requeued, failed = self._reap_leases(limit - len(expired))
        left = limit - len(expired) - len(requeued) - len(failed)
        recalled, gone = self._reap_instances(left)
        taken_back = JobsReaped(tuple(requeued + recalled), tuple(gone))
        if taken_back.requeued or taken_back.gone:
            self._signal(taken_back)
        return Reaped(taken_back.requeued, tuple(failed), tuple(expired), taken_back.gone)

    async def load_snapshot(self, instance_id: InstanceId) -> tuple[Snapshot | None, str]:
        """An instance's newest snapshot and the event cursor that follows it."""
        instance = self._instances.get(instance_id)
        if instance is None or instance.snapshot is None:
            return None, "0"
        snapshot, at = instance.snapshot
        return snapshot, str(at)

    # The worker's calls.

    async def register(self, record: InstanceRecord, *, lease_s: float) -> None:
        """Begin a new life of an instance."""
        expires_at_s = self._clock.now_s() + lease_s
        earlier = self._instances.get(record.instance_id)
        if earlier and earlier.record.epoch == record.epoch:
            if not earlier.has_retired:
                earlier.expires_at_s = expires_at_s
            return
        for lease in self._leases:
            if self._jobs[lease.job_id].instance_id == record.instance_id:
                self._leases[lease] = 0
        queue = earlier.queue if earlier else deque[JobId]()
        self._instances[record.instance_id] = Instance(record, expires_at_s, queue)
        self._signal(InstanceJoined(record))

    async def claim(
        self, record: InstanceRecord, *, number: int, jobs: int, tokens: int, num_held: int,
        lease_s: float,
    ) -> list[ClaimedJob]:  # fmt: skip
        """Lease jobs from the head of the instance's queue. Raises: InstanceFenced."""
        instance = self._require_epoch(record)
        if number < instance.claim:
            return []
        if number == instance.claim:
            return [job for job in instance.claimed if self._leases.get(job.lease, 0) > 0]
        claimed: list[ClaimedJob] = []
        while instance.queue and len(claimed) < jobs:
            job = self._jobs[instance.queue[0]]
            if self._is_late(job):
                self._stop(instance.queue[0], job, JobState.EXPIRED, DEADLINE_PASSED)
                continue
            if job.spec.total_tokens > tokens or (job.is_quarantined and (claimed or num_held)):
                break
            tokens -= job.spec.total_tokens
            execution_id = ExecutionId(f"{record.epoch}-{number}-{len(claimed) + 1}")
            claimed.append(self._lease(instance.queue.popleft(), execution_id, lease_s))
            if claimed[-1].runs_alone:
                break
        instance.claim, instance.claimed = number, claimed
        return claimed

    async def listen(self, instance_id: InstanceId, *, timeout_s: float) -> frozenset[Ring]:
        """Wait until the instance's worker is called."""
        if instance_id not in self._rings:
            await self._wait(timeout_s)
        return frozenset(self._rings.pop(instance_id, ()))

    async def renew(
        self, record: InstanceRecord, leases: Sequence[Lease], *, lease_s: float
    ) -> list[Lease]:
        """Renew the instance's own lease and those of its jobs. Raises: InstanceFenced."""
        expires_at_s = self._clock.now_s() + lease_s
        instance = self._require_epoch(record)
        if instance.has_retired:
            raise InstanceFenced(_fenced(record))
        instance.expires_at_s = expires_at_s
        lost = [lease for lease in leases if self._leases.get(lease, 0) == 0]
        self._leases.update({lease: expires_at_s for lease in leases if lease not in lost})
        return lost

    async def finish(self, record: InstanceRecord, outcomes: Sequence[Outcome]) -> list[bool]:
        """Record how executions ended; the fence refuses lost leases."""
        return [self._finish(record.instance_id, outcome) for outcome in outcomes]

    async def publish(self, batches: Sequence[EventBatch]) -> None:
        """Append block events to the instances' streams."""
        for batch in batches:
            if instance := self._instances.get(batch.instance_id):
                instance.batches.append(batch)
        self._ring()

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Store what the instance holds."""
        if instance := self._instances.get(snapshot.instance_id):
            instance.snapshot = (snapshot, len(instance.batches))

    async def release(
        self, record: InstanceRecord, leases: Sequence[Lease], *, is_attempt: bool
    ) -> None:
        """Hand running jobs back."""
        del record
        for lease in leases:
            if self._leases.get(lease, 0) > 0:
                self._leases[lease] = 0
                self._jobs[lease.job_id].attempt -= not is_attempt

    async def retire(self, record: InstanceRecord) -> None:
        """Leave the pool."""
        instance = self._instances.get(record.instance_id)
        if instance and instance.record.epoch == record.epoch:
            instance.expires_at_s, instance.has_retired = 0, True

    # Helpers.

    def _admit_batch(self, batch: Sequence[Submission]) -> Refusal | None:
        known = [job for job in batch if job.job_id in self._jobs]
        if any(self._jobs[job.job_id].fingerprint != job.fingerprint for job in known):
            return KeyReused(KEY_REUSED)
        new = [job for job in batch if job.job_id not in self._jobs]
        if refusal := self._full(new) or self._too_fast(new):
            return refusal
        now_s = self._clock.now_s()
        self._rates.take(Counter(job.spec.tenant for job in new), now_s=now_s)
        for job in new:
            self._jobs[job.job_id] = Job(
                job.spec, job.prompt, job.block_keys, now_s, order=len(self._jobs) + 1,
                fingerprint=job.fingerprint,
            )  # fmt: skip
            self._ingresses.append(job.job_id, self._jobs[job.job_id])
        if new:
            self._signal(JobsAdmitted(len(new)))
        return None

    def _full(self, new: Sequence[Submission]) -> QueueFull | None:
        bounds = self._bounds
        unfinished = sum(not job.state.is_terminal for job in self._jobs.values())
        prompt_bytes = self._prompt_bytes() + sum(len(job.prompt) for job in new)
        bound: Bound
        if unfinished + len(new) > bounds.max_jobs:
            bound = "jobs"
        elif prompt_bytes > bounds.max_prompt_bytes:
            bound = "prompt bytes"
        elif not self._ingresses.has_room(new, bounds.max_ingresses):
            bound = "ingress queues"
        elif self._is_over_quota(new):
            bound = "jobs of one tenant"
        else:
            return None
        num_ended = sum(self._totals.get(state, 0) for state in JobState if state.is_terminal)
        ended_per_s = self._drain.observe(num_ended, now_s=self._clock.now_s())
        return bounds.refusal(bound, ended_per_s=ended_per_s)

    def _is_over_quota(self, new: Sequence[Submission]) -> bool:
        most = self._bounds.max_tenant_jobs
        unfinished = (job.spec.tenant for job in self._jobs.values() if not job.state.is_terminal)
        asking = Counter(job.spec.tenant for job in new)
        held = Counter(unfinished)
        return bool(most) and any(held[each] + number > most for each, number in asking.items())

    def _too_fast(self, new: Sequence[Submission]) -> QueueFull | None:
        asking = Counter(job.spec.tenant for job in new)
        wait_s = self._rates.wait_s(asking, now_s=self._clock.now_s())
        return self._bounds.too_fast(wait_s) if wait_s else None

    def _prompt_bytes(self) -> int:
        jobs = self._jobs.values()
        return sum(len(job.prompt) for job in jobs if not job.state.is_terminal)

    def _retry(self, job_id: JobId) -> Retried:
        job = self._jobs.get(job_id)
        if job is None:
            return None
        if job.state is not JobState.FAILED:
            return job.state
        submission = Submission(job_id, job.spec, job.prompt, job.block_keys)
        if refusal := self._dead_letters.dropped(job) or self._full([submission]):
            return refusal
        self._dead_letters.forget(job)
        job.begin_anew(self._clock.now_s())
        self._ingresses.append(job_id, job)
        self._count("retried", 1)
        self._signal(JobsAdmitted(1))
        return job.state

    def _position(self, job_id: JobId, job: Job) -> int | None:
        if job.state is JobState.WAITING:
            return self._ingresses.position(job_id, job)
        if job.state is JobState.ASSIGNED and job.instance_id:
            return self._instances[job.instance_id].queue.index(job_id)
        return None

    def _placed(self) -> list[PlacedJob]:
        return [
            PlacedJob(job_id, job.instance_id, job.spec, job.block_keys)
            for job_id, job in self._jobs.items()
            if job.state in {JobState.ASSIGNED, JobState.RUNNING} and job.instance_id
        ]

    def _news(self, cursor: Cursor) -> News:
        signals = tuple(self._signals[int(cursor.signals) :])
        batches: list[EventBatch] = []
        events = dict(cursor.events)
        for instance_id, at in cursor.events.items():
            if instance := self._instances.get(instance_id):
                batches += instance.batches[int(at) :]
                events[instance_id] = str(len(instance.batches))
        return News(Cursor(str(len(self._signals)), events), signals, tuple(batches))

    def _waiting(self, ingress: str, job_id: JobId) -> WaitingJob:
        job = self._jobs[job_id]
        waited_s = self._clock.now_s() - job.waits_since_s
        return WaitingJob(
            job_id, ingress, job.spec, job.block_keys, waited_s, runs_alone=job.is_quarantined
        )

    def _move(self, ingress: str, assignment: Assignment) -> bool:
        instance = self._instances.get(assignment.instance_id)
        job = self._jobs.get(assignment.job_id)
        if not (instance and job) or instance.expires_at_s <= self._clock.now_s():
            return False
        if job.state is not JobState.WAITING:
            return job.instance_id == assignment.instance_id
        if self._ingresses.of(job) != ingress or self._is_late(job):
            return False
        self._ingresses.remove(assignment.job_id, job)
        instance.queue.append(assignment.job_id)
        job.state, job.instance_id = JobState.ASSIGNED, assignment.instance_id
        job.assignment = assignment
        self._call(assignment.instance_id, Ring.ASSIGNED)
        return True

    def _call(self, instance_id: InstanceId, ring: Ring) -> None:
        self._rings.setdefault(instance_id, set()).add(ring)
        self._ring()

    def _cancel(self, job_id: JobId) -> JobState | None:
        job = self._jobs.get(job_id)
        if job is None:
            return None
        self._stop(job_id, job, JobState.CANCELLED, CANCELLED)
        return job.state

    def _stop(self, job_id: JobId, job: Job, state: JobState, failure: JobFailure) -> None:
        """End a job wherever it stands, unless it has ended."""
        if job.state.is_terminal:
            return
        if job.state is JobState.WAITING:
            self._ingresses.remove(job_id, job)
        elif job.state is JobState.ASSIGNED and job.instance_id:
            self._instances[job.instance_id].queue.remove(job_id)
        elif job.instance_id and job.execution_id:
            del self._leases[Lease(job_id, job.execution_id)]
            job.execution_id = None
            self._call(job.instance_id, Ring.RECALLED)
        self._conclude(job_id, job, state, failure=failure)

    def _is_late(self, job: Job) -> bool:
        return job.deadline_at_s is not None and job.deadline_at_s <= self._clock.now_s()

    def _reap_late(self, limit: int) -> list[JobId]:
        late = [
            (job.deadline_at_s, job_id)
            for job_id, job in self._jobs.items()
            if not job.state.is_terminal and self._is_late(job)
        ]
        expired = [job_id for _, job_id in sorted(late)][:limit]
        for job_id in expired:
            self._stop(job_id, self._jobs[job_id], JobState.EXPIRED, DEADLINE_PASSED)
        return expired

    def _reap_leases(self, limit: int) -> tuple[list[JobId], list[JobId]]:
        now_s = self._clock.now_s()
        requeued: list[JobId] = []
        failed: list[JobId] = []
        expired = [lease for lease, at_s in self._leases.items() if at_s <= now_s][:limit]
        expired.sort(key=lambda lease: self._jobs[lease.job_id].order, reverse=True)
        for lease in expired:
            del self._leases[lease]
            job_id = lease.job_id
            job = self._jobs[job_id]
            if job.attempt >= self._max_attempts:
                job.execution_id = None
                self._conclude(job_id, job, JobState.FAILED, failure=ATTEMPTS_USED_UP)
                failed.append(job_id)
            else:
                self._make_waiting(job_id, job)
                self._count("requeued", 1)
                if job.attempt == QUARANTINE_AFTER:
                    self._count("quarantined", 1)
                requeued.append(job_id)
        return requeued, failed

    def _reap_instances(self, limit: int) -> tuple[list[JobId], list[InstanceId]]:
        now_s = self._clock.now_s()
        recalled: list[JobId] = []
        gone: list[InstanceId] = []
        for instance_id, instance in list(self._instances.items()):
            if instance.expires_at_s > now_s:
                continue
            while instance.queue and len(recalled) < limit:
                job_id = instance.queue.pop()
                self._make_waiting(job_id, self._jobs[job_id])
                recalled.append(job_id)
            if not instance.queue:
                del self._instances[instance_id]
                gone.append(instance_id)
        return recalled, gone

    def _make_waiting(self, job_id: JobId, job: Job) -> None:
        job.state, job.instance_id, job.execution_id = JobState.WAITING, None, None
        job.assignment, job.started_at_s = None, None
        self._ingresses.put_first(job_id, job)

    def _lease(self, job_id: JobId, execution_id: ExecutionId, lease_s: float) -> ClaimedJob:
        now_s = self._clock.now_s()
        job = self._jobs[job_id]
        job.attempt += 1
        job.state, job.execution_id, job.started_at_s = JobState.RUNNING, execution_id, now_s
        self._leases[Lease(job_id, execution_id)] = now_s + lease_s
        return ClaimedJob(job_id, execution_id, job.attempt, job.spec, job.prompt)

    def _finish(self, instance_id: InstanceId, outcome: Outcome) -> bool:
        job_id, execution_id = outcome.lease.job_id, outcome.lease.execution_id
        if (outcome.result is None) == (outcome.failure is None):
            msg = f"outcome of {job_id} is neither a result nor a failure"
            raise InvariantError(msg)
        job = self._jobs.get(job_id)
        if job is None:
            return False
        if self._leases.pop(outcome.lease, None) is None:
            return job.execution_id == execution_id and job.state.is_terminal
        if job.instance_id != instance_id:
            msg = f"{instance_id} finishes {job_id}, which {job.instance_id} runs"
            raise InvariantError(msg)
        state = JobState.COMPLETED if outcome.result else JobState.FAILED
        self._conclude(job_id, job, state, result=outcome.result, failure=outcome.failure)
        return True

    def _conclude(
        self, job_id: JobId, job: Job, state: JobState, *, result: JobResult | None = None,
        failure: JobFailure | None = None,
    ) -> None:  # fmt: skip
        job.state = state
        job.result, job.failure = result, failure
        job.ended_at_s = self._clock.now_s()
        self._dead_letters.keep(job)
        self._count(job.state, 1)
        if result and job.assignment:
            self._count("prompt_tokens", result.prompt_tokens)
            self._count("completion_tokens", result.completion_tokens)
            self._count("hit_tokens_available", job.assignment.available_hit_tokens)
            self._count("hit_tokens_predicted", result.prediction.hit_tokens)
            self._count("hit_tokens_delivered", result.cached_tokens)
        if job.instance_id:
            tokens, decode_s = (result.completion_tokens, result.decode_s) if result else (0, 0.0)
            self._signal(JobEnded(job_id, job.instance_id, tokens, decode_s))

    def _count(self, name: str, amount: int) -> None:
        self._totals[name] = self._totals.get(name, 0) + amount

    def _require_leader(self, token: LeaderToken) -> None:
        if not self._leader or self._leader[0] != token or self._leader[1] <= self._clock.now_s():
            msg = "another scheduler leads this pool"
            raise NotLeader(msg)

    def _require_epoch(self, record: InstanceRecord) -> Instance:
        instance = self._instances.get(record.instance_id)
        if instance is None or instance.record.epoch != record.epoch:
            raise InstanceFenced(_fenced(record))
        return instance

    def _signal(self, signal: Signal) -> None:
        self._signals.append(signal)
        self._ring()

    def _ring(self) -> None:
        self._happened.set()
        self._happened = asyncio.Event()

    async def _wait(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._happened.wait()
        except TimeoutError:
            return


def _fenced(record: InstanceRecord) -> str:
    return f"instance {record.instance_id} was taken over, or its lease ran out"

"""Who runs what in the memory broker: REGISTER, CLAIM, RENEW, RELEASE, DONE, and their fence."""

from collections import deque
from collections.abc import Sequence

from preble.broker.answers import DEADLINE_PASSED, fenced
from preble.broker.memory_records import Instance, Job
from preble.broker.memory_state import MemoryState
from preble.errors import InstanceFenced, InvariantError
from preble.messages import (
    Assignment,
    ClaimedJob,
    ExecutionId,
    InstanceId,
    InstanceJoined,
    InstanceRecord,
    InstanceReport,
    JobId,
    JobResult,
    JobState,
    Lease,
    Outcome,
)


def register(state: MemoryState, record: InstanceRecord, *, lease_s: float) -> None:
    """Begin a new life of an instance."""
    expires_at_s = state.clock.now_s() + lease_s
    earlier = state.instances.get(record.instance_id)
    if earlier and earlier.record.epoch == record.epoch:
        if not earlier.has_retired:
            earlier.expires_at_s = expires_at_s
        return
    for lease in state.leases:
        if state.jobs[lease.job_id].instance_id == record.instance_id:
            state.leases[lease] = 0  # refused from now on: let REAP take it back at once
    queue = earlier.queue if earlier else deque[JobId]()
    state.instances[record.instance_id] = Instance(record, expires_at_s, queue)
    if record.instance_id not in state.drained_at_s:
        state.signal(InstanceJoined(record))


def claim(
    state: MemoryState, record: InstanceRecord, *, number: int, jobs: int, tokens: int,
    num_held: int, lease_s: float,
) -> list[ClaimedJob]:  # fmt: skip
    """Lease jobs from the head of an instance's queue. Raises: InstanceFenced."""
    instance = _require_epoch(state, record)
    if number < instance.claim:
        return []
    if number == instance.claim:
        return [job for job in instance.claimed if state.is_leased(job.lease)]
    claimed: list[ClaimedJob] = []
    while instance.queue and len(claimed) < jobs:
        job_id = instance.queue[0]
        job = state.jobs[job_id]
        if state.is_late(job):
            state.stop(job_id, job, JobState.EXPIRED, DEADLINE_PASSED)
            continue
        if job.spec.total_tokens > tokens or (job.is_quarantined and (claimed or num_held)):
            break
        tokens -= job.spec.total_tokens
        execution_id = ExecutionId(f"{record.epoch}-{number}-{len(claimed) + 1}")
        instance.queue.popleft()
        claimed.append(_lease(state, Lease(job_id, execution_id), lease_s))
        if claimed[-1].runs_alone:
            break
    instance.claim, instance.claimed = number, claimed
    return claimed


def _lease(state: MemoryState, lease: Lease, lease_s: float) -> ClaimedJob:
    now_s, job = state.clock.now_s(), state.jobs[lease.job_id]
    job.attempt += 1
    job.state, job.execution_id, job.started_at_s = JobState.RUNNING, lease.execution_id, now_s
    state.leases[lease] = now_s + lease_s
    return ClaimedJob(
        lease.job_id, lease.execution_id, job.attempt, job.spec, job.prompt,
        now_s - job.waits_since_s,
    )  # fmt: skip


def renew(
    state: MemoryState, record: InstanceRecord, leases: Sequence[Lease], *, lease_s: float,
    report: InstanceReport,
) -> list[Lease]:  # fmt: skip
    """Renew an instance's own lease and those of its jobs. Raises: InstanceFenced.

    Returns:
        Leases that are lost.
    """
    instance = _require_epoch(state, record)
    if instance.has_retired:
        raise InstanceFenced(fenced(record.instance_id))
    instance.renewed_at_s, instance.report = state.clock.now_s(), report
    instance.expires_at_s = instance.renewed_at_s + lease_s
    lost = [lease for lease in leases if not state.is_leased(lease)]
    state.leases |= {lease: instance.expires_at_s for lease in leases if lease not in lost}
    return lost


def release(state: MemoryState, lease: Lease, *, is_attempt: bool) -> None:
    """Let a lease expire, if it is held: REAP does the rest."""
    if state.is_leased(lease):
        state.leases[lease] = 0
        state.jobs[lease.job_id].attempt -= not is_attempt


def finish(state: MemoryState, instance_id: InstanceId, outcome: Outcome) -> bool:
    """Record how an execution ended. False if it is not the one whose end counts.

    Raises:
        InvariantError: If it is neither a result nor a failure, or another instance's.
    """
    job_id = outcome.lease.job_id
    if (outcome.result is None) == (outcome.failure is None):
        msg = f"outcome of {job_id} is neither a result nor a failure"
        raise InvariantError(msg)
    job = state.jobs.get(job_id)
    if job is None:
        return False
    if not state.end_execution(outcome.lease):
        return job.execution_id == outcome.lease.execution_id and job.state.is_terminal
    if job.instance_id != instance_id:
        msg = f"{instance_id} finishes {job_id}, which {job.instance_id} runs"
        raise InvariantError(msg)
    _conclude(state, job_id, job, outcome)
    return True


def _conclude(state: MemoryState, job_id: JobId, job: Job, outcome: Outcome) -> None:
    result, failure = outcome.result, outcome.failure
    end = JobState.COMPLETED if result else JobState.FAILED
    state.conclude(job_id, job, end, result=result, failure=failure)
    if result and job.assignment:
        _count(state, result, job.assignment)


def _count(state: MemoryState, result: JobResult, assignment: Assignment) -> None:
    state.count("prompt_tokens", result.prompt_tokens)
    state.count("completion_tokens", result.completion_tokens)
    state.count("hit_tokens_available", assignment.available_hit_tokens)
    state.count("hit_tokens_predicted", result.prediction.hit_tokens)
    state.count("hit_tokens_delivered", result.cached_tokens)


def _require_epoch(state: MemoryState, record: InstanceRecord) -> Instance:
    instance = state.instances.get(record.instance_id)
    if instance is None or instance.record.epoch != record.epoch:
        raise InstanceFenced(fenced(record.instance_id))
    return instance

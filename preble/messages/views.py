"""Jobs and the pool as they are shown."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from preble.messages.decisions import Assignment
from preble.messages.instances import InstanceId, InstanceRecord, InstanceReport
from preble.messages.jobs import JobId, JobSpec, JobState
from preble.messages.runs import JobFailure, JobResult
from preble.messages.webhooks import WebhookView


class JobView(msgspec.Struct, frozen=True):
    """A job as a client may see it; times are Unix seconds of the Redis clock."""

    job_id: JobId
    state: JobState
    spec: JobSpec
    attempt: int
    submitted_at_s: float
    deadline_at_s: float | None = None
    position: int | None = None
    """Jobs ahead in the same queue; None beyond the counted depth or once running."""
    instance_id: InstanceId | None = None
    assigned_at_s: float | None = None
    """When it was bound to its instance; None before, and in lists."""
    started_at_s: float | None = None
    ended_at_s: float | None = None
    assignment: Assignment | None = None
    result: JobResult | None = None
    failure: JobFailure | None = None
    webhook: WebhookView | None = None
    """None if it has none, and in lists."""


InstanceState = Literal["ready", "quarantine", "draining", "drained", "lost", "gone"]
"""How an instance stands: it takes jobs; it runs one of the quarantine alone; it gets no more jobs
and has some; it has none; its lease ran out; it is not in the pool, and drained if it returns."""


class InstanceView(msgspec.Struct, frozen=True, kw_only=True):
    """An instance as an operator sees it."""

    instance_id: InstanceId
    state: InstanceState
    record: InstanceRecord | None
    """None if it is gone."""
    assigned: int
    """Jobs in its queue."""
    running: int
    """Jobs that its worker has claimed, and may hold back a moment."""
    drained_at_s: float | None
    """Since when it gets no more jobs, Unix seconds of the Redis clock; None if it does."""
    renewed_ago_s: float | None
    """Since its worker renewed its lease; None if that is not known."""
    report: InstanceReport | None
    """None before its worker has renewed for the first time."""
    unsaved_batches: int
    """Batches of block events since its last snapshot, which a new scheduler must follow."""
    lost_batches: int
    """Of these, those that Redis has no more."""


class RqWorkerView(msgspec.Struct, frozen=True):
    """An RQ worker, as which an instance appears there, and what it did in its present life."""

    name: str
    """Of the worker and of its one queue."""
    state: str
    succeeded: int
    failed: int
    working_s: float
    """Of its jobs together, however many ran at once."""


class RqView(msgspec.Struct, frozen=True):
    """What RQ's records say of a pool."""

    workers: Sequence[RqWorkerView] = ()
    jobs: Mapping[tuple[str, str], int] = {}
    """By queue and RQ's word for their status."""


class PoolStats(msgspec.Struct, frozen=True):
    """Counts of a pool: gauges of now, and totals since the pool began."""

    waiting: int
    assigned: int
    running: int
    prompt_bytes: int
    instances: int
    totals: dict[str, int]
    dead_letter_bytes: int = 0
    """Of the prompts that failed jobs keep."""
    ended_bytes: int = 0
    """Of the jobs that have ended, with their results."""

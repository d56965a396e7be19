"""Jobs and the pool as they are shown."""

import msgspec

from preble.messages.decisions import Assignment
from preble.messages.instances import InstanceId, InstanceRecord
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
    started_at_s: float | None = None
    ended_at_s: float | None = None
    assignment: Assignment | None = None
    result: JobResult | None = None
    failure: JobFailure | None = None
    webhook: WebhookView | None = None
    """None if it has none, and in lists."""


class InstanceLoad(msgspec.Struct, frozen=True):
    """What stands with an instance that is registered."""

    record: InstanceRecord
    assigned: int
    """Jobs in its queue."""
    running: int
    """Jobs that its worker has claimed, and may hold back a moment."""


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

"""What a scheduler is told."""

from typing import NewType

import msgspec

from preble.messages.instances import InstanceId, InstanceRecord
from preble.messages.jobs import JobId

LeaderToken = NewType("LeaderToken", str)


class JobEnded(msgspec.Struct, frozen=True, tag="ended", array_like=True):
    """A job left its instance for good."""

    job_id: JobId
    instance_id: InstanceId
    completion_tokens: int
    decode_s: float = 0.0
    """From the first token to the last, on the worker's clock; 0 without a result."""


class InstanceJoined(msgspec.Struct, frozen=True, tag="joined", array_like=True):
    """An instance registered, with nothing cached that was reported yet."""

    record: InstanceRecord


class InstanceDrained(msgspec.Struct, frozen=True, tag="drained", array_like=True):
    """An instance is to get no more jobs; those that wait for it come back by `JobsReaped`."""

    instance_id: InstanceId


class InstanceResumed(msgspec.Struct, frozen=True, tag="resumed", array_like=True):
    """A drained instance, which may be gone by now, is to get jobs again."""

    instance_id: InstanceId


class JobsReaped(msgspec.Struct, frozen=True, tag="reaped", array_like=True):
    """What was taken back, of the dead or of a drained instance.

    Told here and not by REAP's reply, which may be lost.
    """

    requeued: tuple[JobId, ...]
    """They wait again."""
    gone: tuple[InstanceId, ...]
    """They had not renewed their own lease."""


class JobsAdmitted(msgspec.Struct, frozen=True, tag="admitted", array_like=True):
    """Jobs were added to an ingress queue."""

    count: int


Signal = JobEnded | InstanceJoined | InstanceDrained | InstanceResumed | JobsReaped | JobsAdmitted
"""What the scheduler must hear besides block events; one stream for each pool."""


class Reaped(msgspec.Struct, frozen=True):
    """What one REAP call took from the dead.

    `requeued` jobs are waiting again, `failed` jobs had used up their attempts, `expired` jobs
    had not ended by their deadline, `gone` instances had not renewed their own lease.
    """

    requeued: tuple[JobId, ...] = ()
    failed: tuple[JobId, ...] = ()
    expired: tuple[JobId, ...] = ()
    gone: tuple[InstanceId, ...] = ()

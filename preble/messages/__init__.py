"""Everything that crosses a process boundary, as frozen msgspec structs.

A *job* is one prompt to complete, from submission to result. Its prompt travels apart from
its `JobSpec`, as raw little-endian uint32 (`Tokens`), because prompts are large and the
scheduler needs their block keys only. Nothing here does I/O or knows Redis.
"""

from preble.messages.decisions import Assignment, Candidate, PlacedJob, WaitingJob, Weighing
from preble.messages.instances import (
    AllBlocksCleared,
    BlockEvent,
    BlocksRemoved,
    BlocksStored,
    EventBatch,
    InstanceId,
    InstanceRecord,
    PoolRecord,
    Snapshot,
)
from preble.messages.jobs import (
    DEFAULT_TENANT,
    JobId,
    JobSpec,
    JobState,
    SamplingParams,
    Submission,
)
from preble.messages.packing import (
    TOKEN_BYTES,
    BlockKeys,
    Tokens,
    encode,
    pack_keys,
    pack_tokens,
    unpack_keys,
    unpack_tokens,
)
from preble.messages.runs import (
    QUARANTINE_AFTER,
    ClaimedJob,
    ExecutionId,
    HitPrediction,
    JobFailure,
    JobResult,
    Lease,
    Outcome,
    Ring,
)
from preble.messages.signals import (
    InstanceJoined,
    JobEnded,
    JobsAdmitted,
    JobsReaped,
    LeaderToken,
    Reaped,
    Signal,
)
from preble.messages.streams import TokenDelta
from preble.messages.views import InstanceLoad, JobView, PoolStats
from preble.messages.webhooks import Webhook, WebhookKind, WebhookStatus, WebhookView

__all__ = [
    "DEFAULT_TENANT",
    "QUARANTINE_AFTER",
    "TOKEN_BYTES",
    "AllBlocksCleared",
    "Assignment",
    "BlockEvent",
    "BlockKeys",
    "BlocksRemoved",
    "BlocksStored",
    "Candidate",
    "ClaimedJob",
    "EventBatch",
    "ExecutionId",
    "HitPrediction",
    "InstanceId",
    "InstanceJoined",
    "InstanceLoad",
    "InstanceRecord",
    "JobEnded",
    "JobFailure",
    "JobId",
    "JobResult",
    "JobSpec",
    "JobState",
    "JobView",
    "JobsAdmitted",
    "JobsReaped",
    "LeaderToken",
    "Lease",
    "Outcome",
    "PlacedJob",
    "PoolRecord",
    "PoolStats",
    "Reaped",
    "Ring",
    "SamplingParams",
    "Signal",
    "Snapshot",
    "Submission",
    "TokenDelta",
    "Tokens",
    "WaitingJob",
    "Webhook",
    "WebhookKind",
    "WebhookStatus",
    "WebhookView",
    "Weighing",
    "encode",
    "pack_keys",
    "pack_tokens",
    "unpack_keys",
    "unpack_tokens",
]

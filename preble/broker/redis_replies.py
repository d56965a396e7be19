"""Replies of the Lua scripts, turned into messages. Pure."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from preble.broker.answers import NOT_LEADER, fenced
from preble.broker.bulletin import Cursor, News
from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Streams
from preble.broker.webhooks import FORGOTTEN
from preble.errors import InstanceFenced, NotLeader
from preble.messages import (
    Assignment,
    BlockKeys,
    ClaimedJob,
    EventBatch,
    ExecutionId,
    InstanceId,
    InstanceRecord,
    JobFailure,
    JobId,
    JobResult,
    JobSpec,
    JobState,
    JobView,
    Lease,
    PlacedJob,
    Reaped,
    Signal,
    Tokens,
    WebhookStatus,
    WebhookView,
)

_decode_spec: Final = msgspec.msgpack.Decoder(JobSpec).decode
_decode_assignment: Final = msgspec.msgpack.Decoder(Assignment).decode
_decode_signal: Final = msgspec.msgpack.Decoder(Signal).decode
_decode_batch: Final = msgspec.msgpack.Decoder(EventBatch).decode
_decode_result: Final = msgspec.json.Decoder(JobResult).decode
_decode_failure: Final = msgspec.json.Decoder(JobFailure).decode
decode_record: Final = msgspec.msgpack.Decoder(InstanceRecord).decode


class DescribedJob(NamedTuple):
    """What never changes of a waiting job."""

    spec: JobSpec
    block_keys: BlockKeys
    submitted_ms: int


def led(reply: Any) -> Any:  # noqa: ANN401  # a Lua reply
    """The reply to a leader. Raises: NotLeader."""
    if reply is None:
        raise NotLeader(NOT_LEADER)
    return reply


def unfenced(reply: Any, instance_id: InstanceId) -> Any:  # noqa: ANN401  # a Lua reply
    """The reply to the current life of an instance. Raises: InstanceFenced."""
    if reply is None:
        raise InstanceFenced(fenced(instance_id))
    return reply


class Peeked(NamedTuple):
    """What waits first."""

    now_ms: int
    jobs: list[tuple[str, JobId]]
    """(ingress queue, job), in order, queues by name."""
    described: dict[JobId, DescribedJob]
    """All of them that are still known, or none."""


def peeked(reply: Sequence[Any]) -> Peeked:
    """PEEK's reply."""
    now_ms, described, *queues = reply
    named = sorted((ingress.decode(), jobs) for ingress, jobs in _rows(queues, 2))
    jobs = [(ingress, JobId(job.decode())) for ingress, jobs in named for job in jobs]
    return Peeked(now_ms, jobs, described_jobs(described))


def described_jobs(reply: Sequence[Any]) -> dict[JobId, DescribedJob]:
    """DESCRIBE's flat reply."""
    return {
        JobId(job.decode()): DescribedJob(_decode_spec(spec), BlockKeys(keys), submitted_ms)
        for job, spec, keys, submitted_ms in _rows(reply, 4)
    }


def claimed_jobs(reply: Sequence[Any]) -> list[ClaimedJob]:
    """CLAIM's flat reply."""
    return [
        ClaimedJob(
            JobId(job.decode()), ExecutionId(execution.decode()), attempt, _decode_spec(spec),
            Tokens(prompt), waited_ms / 1000,
        )
        for job, execution, attempt, spec, prompt, waited_ms in _rows(reply, 6)
    ]  # fmt: skip


def leases_from(composites: Sequence[bytes]) -> list[Lease]:
    """`job:execution` for each lease."""
    pairs = (composite.decode().split(":") for composite in composites)
    return [Lease(JobId(job), ExecutionId(execution)) for job, execution in pairs]


def reaped(reply: Sequence[Any]) -> Reaped:
    """REAP's reply."""
    *jobs, gone = reply
    requeued, failed, expired = (tuple(JobId(job.decode()) for job in each) for each in jobs)
    return Reaped(
        requeued, failed, expired, tuple(InstanceId(instance.decode()) for instance in gone)
    )


def job_view(job_id: JobId, reply: Sequence[Any]) -> JobView:
    """VIEW's reply."""
    (state, spec, attempt, submitted, deadline, started, ended, instance, failure, position,
     decision, return_value, webhook, assigned) = reply  # fmt: skip
    return JobView(
        job_id=job_id,
        state=JobState(state.decode()),
        spec=_decode_spec(spec),
        attempt=int(attempt),
        submitted_at_s=int(submitted) / 1000,
        deadline_at_s=_seconds(deadline),
        position=position,
        instance_id=InstanceId(instance.decode()) if instance else None,
        assigned_at_s=_seconds(assigned) if decision else None,
        started_at_s=_seconds(started),
        ended_at_s=_seconds(ended),
        assignment=_decode_assignment(decision) if decision else None,
        result=_decode_result(base64.b64decode(return_value)) if return_value else None,
        failure=_decode_failure(failure) if failure else None,
        webhook=None if webhook is None else _webhook(webhook),
    )


def _webhook(fields: Sequence[bytes | None]) -> WebhookView:
    """There are none before the job's end; dead letters beyond their bound have lost theirs."""
    if not fields:
        return WebhookView()
    status, attempts, error = fields
    if status is None:
        return WebhookView("failed", last_error=FORGOTTEN)
    known = msgspec.convert(status.decode(), WebhookStatus)
    return WebhookView(known, int(attempts or 0), (error or b"").decode())


def news(cursor: Cursor, reply: Streams, keys: PoolKeys) -> News:
    """XREAD's reply over the signals and the events of all instances."""
    at_signals = cursor.signals
    at_events = dict(cursor.events)
    instance_of = {keys("events", instance=i).encode(): i for i in at_events}
    signals: tuple[Signal, ...] = ()
    batches: list[EventBatch] = []
    for stream, entries in reply:
        last_id = entries[-1][0].decode()
        if instance := instance_of.get(stream):
            at_events[instance] = last_id
            batches += (_decode_batch(fields[b"b"]) for _, fields in entries)
        else:
            at_signals = last_id
            signals = tuple(_decode_signal(fields[b"m"]) for _, fields in entries)
    return News(Cursor(at_signals, at_events), signals, tuple(batches))


def decode_placed(
    where: Mapping[JobId, InstanceId], fields: Sequence[bytes | None]
) -> list[PlacedJob]:
    """Spec and block keys for each job of `where`; jobs that ended meanwhile are left out."""
    return [
        PlacedJob(job_id, instance_id, _decode_spec(spec), BlockKeys(keys))
        for (job_id, instance_id), (spec, keys) in zip(where.items(), _rows(fields, 2), strict=True)
        if spec is not None and keys is not None
    ]


def _rows(flat: Sequence[Any], width: int) -> list[tuple[Any, ...]]:
    return [tuple(flat[start : start + width]) for start in range(0, len(flat), width)]


def _seconds(ms: bytes | None) -> float | None:
    return int(ms) / 1000 if ms else None

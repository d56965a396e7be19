"""What the replies about a pool mean: its facts, of one moment. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

import msgspec

from preble.broker.facts import (
    BlockEventFacts,
    IngressFacts,
    InstanceFacts,
    JobPart,
    OverdueLease,
    StrandedQueue,
)
from preble.broker.keys import PoolKeys
from preble.broker.redis_bulletin import EVENTS_KEPT
from preble.broker.redis_questions import RECOUNTED_JOBS, Names, Replies, names_from, texts
from preble.broker.redis_replies import decode_record
from preble.messages import EventBatch, InstanceId, InstanceRecord, JobId, Snapshot

_UNENDED: Final = {b"waiting", b"assigned", b"running"}
_PARTS: Final[tuple[JobPart, ...]] = ("prompt", "block keys")
_RUNS: Final = b"\xa4runs"
"""The name of a snapshot's last field, in msgpack. No name and no epoch has such a byte."""

_T = TypeVar("_T")


class SampledJob(NamedTuple):
    """A queued or running job, looked at."""

    missing: tuple[JobPart, ...]
    instance_id: InstanceId | None
    submitted_ms: int
    started_ms: int | None


def sampled_job(replies: Replies, job: str) -> SampledJob | None:
    """A job that was queued or ran; None if it has ended meanwhile."""
    state, instance, submitted_ms, started_ms = replies["job", job]
    if state is None:
        return SampledJob(("record",), None, 0, None)
    if state not in _UNENDED:
        return None
    return SampledJob(
        tuple(part for part in _PARTS if not replies[part, job]),
        InstanceId(instance.decode()) if instance else None,
        int(submitted_ms), int(started_ms) if started_ms else None,
    )  # fmt: skip


class Census(NamedTuple):
    """The replies of one moment, and the names they were asked by."""

    keys: PoolKeys
    names: Names
    replies: Replies

    @property
    def is_whole(self) -> bool:
        """Whether no queue came or went since its name was read."""
        return names_from(self.replies, self.keys)[1:] == self.names[1:]

    def queued(self) -> Iterator[str]:
        """Jobs at the heads of all queues."""
        for (what, _), jobs in self.replies.items():
            if what == "head":
                yield from texts(jobs)

    def running(self) -> list[str]:
        """Jobs whose leases were renewed longest ago."""
        return [job_of(lease) for lease in self.replies["oldest leases", ""]]

    def overdue(self, jobs: Mapping[str, SampledJob]) -> Iterator[OverdueLease]:
        """The most overdue leases, worst first."""
        for lease, expired_ms in pairs(self.replies["overdue leases", ""]):
            job = jobs.get(job_of(lease))
            overdue_s = (self.names.now_ms - float(expired_ms)) / 1000
            yield OverdueLease(JobId(job_of(lease)), job and job.instance_id, overdue_s)

    def ended_bytes(self) -> int | None:
        """Of jobs that have ended, added up; None where there are too many."""
        entries = self.replies["ended", ""]
        if len(entries) > RECOUNTED_JOBS:
            return None
        return sum(_bytes_of_ended(entry) for entry in entries)

    def ingresses(self, jobs: Mapping[str, SampledJob]) -> Iterator[IngressFacts]:
        """The ingress queues that have jobs."""
        for name in self.names.ingresses:
            head = [jobs[job] for job in texts(self.replies["head", name]) if job in jobs]
            submitted_ms = [job.submitted_ms for job in head if "record" not in job.missing]
            oldest_s = self.ago_s(min(submitted_ms)) if submitted_ms else None
            _, _, priority, tenant = name.split(".", 3)
            if length := self.replies["length", name]:
                yield IngressFacts(priority, tenant, length, oldest_s)

    def stranded(self) -> Iterator[StrandedQueue]:
        """Queues with jobs of instances that are not registered."""
        for instance in self.names.strangers:
            if length := self.replies["length", self.keys.instance_queue(instance)]:
                yield StrandedQueue(InstanceId(instance), length)

    def instances(self) -> Iterator[InstanceFacts]:
        """The registered instances that were there from the names on, in order."""
        leases = {
            name.decode(): float(ms) for name, ms in pairs(self.replies["instance leases", ""])
        }
        for name in self.names.instances:
            if name in leases:
                yield self._instance(name, leases[name])

    def _instance(self, name: str, lease_ms: float) -> InstanceFacts:
        replies = self.replies
        record = decoded(decode_record, replies["record", name])
        return InstanceFacts(
            instance_id=InstanceId(name), record=record,
            lease_left_s=(lease_ms - self.names.now_ms) / 1000 if lease_ms > 0 else None,
            assigned_jobs=replies["length", self.keys.instance_queue(name)],
            running_jobs=replies["running", name],
            heartbeat_ago_s=self._heartbeat_ago_s(replies["heartbeat", name]),
            events=self._events(name, record),
        )  # fmt: skip

    def _events(self, name: str, record: InstanceRecord | None) -> BlockEventFacts:
        newest = self.replies["newest batch", name]
        return event_facts(
            record, self.replies["batches", name], newest[0][1].get(b"b") if newest else None,
            self.replies["snapshot", name],
        )  # fmt: skip

    def _heartbeat_ago_s(self, written: bytes | None) -> float | None:
        if written is None:
            return None
        return self.ago_s(int(1000 * datetime.fromisoformat(written.decode()).timestamp()))

    def ago_s(self, ms: int) -> float:
        """Seconds since a moment of Redis' clock, which may have been set back meanwhile."""
        return max(0, self.names.now_ms - ms) / 1000


def event_facts(
    record: InstanceRecord | None, batches: int, newest: bytes | None, snapshot: bytes
) -> BlockEventFacts:
    """How far an instance's snapshot and its stream of block events reach.

    Args:
        record: Of its life now.
        batches: In its stream.
        newest: The last of them.
        snapshot: Its first bytes; empty for none.
    """
    batch, taken = decoded(_decode_batch, newest), decoded(_decode_snapshot_head, snapshot or None)
    epoch = record.epoch if record else None
    return BlockEventFacts(
        batches=batches,
        most_batches=EVENTS_KEPT,
        last_seq=batch.seq if batch and batch.epoch == epoch else 0,
        snapshot_seq=taken.seq if taken and taken.epoch == epoch else 0,
        is_taken_over=bool(batch and record and batch.epoch != epoch),
    )


_decode_batch: Final = msgspec.msgpack.Decoder(EventBatch).decode
_decode_snapshot: Final = msgspec.msgpack.Decoder(Snapshot).decode


def _decode_snapshot_head(head: bytes) -> Snapshot:
    """A snapshot without its runs, from the first bytes of it as it is stored."""
    _, _, body = head.partition(b"\n")
    return _decode_snapshot(body.partition(_RUNS)[0] + _RUNS + msgspec.msgpack.encode([]))


def decoded(decode: Callable[[bytes], _T], blob: bytes | None) -> _T | None:
    """What a blob says; None for none, and for one of another version."""
    try:
        return None if blob is None else decode(blob)
    except msgspec.MsgspecError:
        return None


def pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Members and scores of a sorted set."""
    return zip(flat[::2], flat[1::2], strict=True)


def job_of(lease: bytes) -> str:
    """The job of a lease, `job:execution`."""
    return lease.decode().partition(":")[0]


def _bytes_of_ended(entry: bytes) -> int:
    """Those that ended under a version that did not count have none."""
    _, *counted, _, _, _ = entry.split(b":")
    return sum(map(int, counted))

"""The production broker: RQ's queues on Redis or Valkey, moved by Lua.

Each call of the protocol is one script (`scripts/*.lua`, whose headers list keys, arguments,
reply, and why running twice is safe). Twice does happen: redis-py sends a command again
when a connection breaks before the reply. Only this package imports redis and rq.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import msgspec

from preble.broker import (
    ATTEMPTS_USED_UP,
    CANCELLED,
    DEADLINE_PASSED,
    Cursor,
    News,
    PoolView,
    Refusal,
    Retried,
)
from preble.broker.agreement import require_same_pool, require_same_weights
from preble.broker.bounds import Bounds
from preble.broker.keys import PoolKeys
from preble.broker.lists import JobPage, JobQuery
from preble.broker.redis_admission import RedisAdmission
from preble.broker.redis_client import SOCKET_TIMEOUT_S, Argument, connect, translated
from preble.broker.redis_confirmation import Confirmation
from preble.broker.redis_leader import RedisLeader
from preble.broker.redis_lists import job_page, list_arguments
from preble.broker.redis_outcomes import done_arguments, rq_failure_text
from preble.broker.redis_peek import RedisPeek
from preble.broker.redis_replies import (
    claimed_jobs,
    decode_placed,
    decode_record,
    job_view,
    leases_from,
    news,
)
from preble.broker.redis_scripts import ScriptRunner
from preble.broker.rq_worker import RQ_WORKER_TTL_S, RqWorker
from preble.broker.scripts import load_scripts
from preble.config import Durability, Settings
from preble.errors import (
    BrokerUnavailable,
    InstanceFenced,
    NotLeader,
)
from preble.messages import (
    Assignment,
    ClaimedJob,
    EventBatch,
    InstanceId,
    InstanceJoined,
    InstanceRecord,
    JobFailure,
    JobId,
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
    Snapshot,
    Submission,
    WaitingJob,
    encode,
)

POSITION_DEPTH: Final = 10_000
EVENTS_KEPT: Final = 4_096
SIGNALS_READ: Final = 1_000

_log = logging.getLogger(__name__)

_START: Final = "0-0"


class RedisBroker:
    """The queue of one pool on one Redis primary. Implements `preble.broker.Broker`."""

    def __init__(
        self, redis_url: str, pool: str, *, bounds: Bounds, max_attempts: int, result_ttl_s: int,
        durability: Durability = "local",
    ) -> None:  # fmt: skip
        self._redis_url = redis_url
        self._keys = PoolKeys(pool)
        self._client = connect(redis_url)
        self._scripts = ScriptRunner(self._client, load_scripts(self._keys))
        is_replicated = durability == "replicated"
        self._confirmation = Confirmation(self._client, self._keys) if is_replicated else None
        self._admission = RedisAdmission(
            self._client, self._scripts, self._keys, bounds=bounds, result_ttl_s=result_ttl_s,
            confirmation=self._confirmation,
        )  # fmt: skip
        self._leader = RedisLeader(self._scripts)
        self._peek = RedisPeek(self._scripts, self._keys)
        self._max_attempts = max_attempts
        self._max_dead_letter_bytes = bounds.max_dead_letter_bytes
        self._result_ttl_s = result_ttl_s
        self._rings: dict[str, str] = {}
        """The last that was heard of each of the streams by which workers are called."""
        self._event_ids: dict[InstanceId, str] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The broker that the settings name. Connects on its first call."""
        bounds = Bounds(
            settings.max_jobs, settings.max_prompt_bytes, settings.max_ingresses,
            settings.max_tenant_jobs, settings.tenant_jobs_per_s, settings.max_dead_letter_bytes,
        )  # fmt: skip
        return cls(
            settings.redis_url, settings.pool, bounds=bounds,
            max_attempts=settings.max_attempts, result_ttl_s=settings.result_ttl_s,
            durability=settings.durability,
        )  # fmt: skip

    async def close(self) -> None:
        """Release connections."""
        if self._confirmation:
            await self._confirmation.close()
        await self._client.aclose()

    async def join_pool(self, record: PoolRecord) -> None:
        """Found the pool, or agree with it. Raises: PoolMismatch."""
        blob = await self._found("pool", msgspec.json.encode(record))
        require_same_pool(self._keys.pool, msgspec.json.decode(blob, type=PoolRecord), record)

    async def agree_on_weights(self, fingerprint: str) -> None:
        """Set the pool's weights, or agree with them. Raises: PoolMismatch."""
        founded = await self._found("weights", fingerprint.encode())
        require_same_weights(self._keys.pool, founded.decode(), fingerprint)

    async def _found(self, name: str, value: bytes) -> bytes:
        """What the first process has set a key to."""
        key = self._keys(name)
        with translated():
            founded: bytes | None = await self._client.get(key)
            if founded is None:  # asked first, for a full Redis refuses even a SET NX
                await self._client.set(key, value, nx=True)
                founded = await self._client.get(key)
        return value if founded is None else founded

    # The api's calls.

    async def admit(self, batches: Sequence[Sequence[Submission]]) -> list[Refusal | None]:
        """Take new jobs, each batch whole or not at all."""
        return await self._admission.admit(batches)

    async def view(self, job_id: JobId) -> JobView | None:
        """A job as it stands."""
        reply = await self._scripts.run("view", job_id, POSITION_DEPTH)
        return job_view(job_id, reply) if reply else None

    async def cancel(self, job_ids: Sequence[JobId]) -> list[JobState | None]:
        """End jobs, wherever they stand."""
        reply = await self._scripts.run(
            "cancel", self._result_ttl_s, *_failure_arguments(CANCELLED), *job_ids
        )
        return [JobState(state.decode()) if state else None for state in reply]

    async def list_jobs(self, query: JobQuery) -> JobPage:
        """A page of jobs."""
        return job_page(await self._scripts.run("list", *list_arguments(query)))

    async def retry(self, job_ids: Sequence[JobId]) -> list[Retried]:
        """Let failed jobs wait again."""
        return await self._admission.retry(job_ids)

    async def stats(self) -> PoolStats:
        """Counts of the pool."""
        keys = self._keys
        with translated():
            ingresses = await self._client.smembers(keys("ingresses"))
            instances = await self._client.zrange(keys("instances"), 0, -1)
            async with self._client.pipeline(transaction=False) as pipeline:
                for ingress in ingresses:
                    pipeline.llen(keys("queue", queue=ingress.decode()))
                for instance in instances:
                    pipeline.llen(keys("queue", queue=keys.instance_queue(instance.decode())))
                pipeline.zcard(keys("leases"))
                pipeline.hget(keys("counts"), "prompt_bytes")
                pipeline.hget(keys("counts"), "dead_letter_bytes")
                pipeline.hgetall(keys("totals"))
                *lengths, running, prompt_bytes, dead_bytes, totals = await pipeline.execute()
        return PoolStats(
            waiting=sum(lengths[: len(ingresses)]), assigned=sum(lengths[len(ingresses) :]),
            running=running, prompt_bytes=int(prompt_bytes or 0), instances=len(instances),
            totals={name.decode(): int(value) for name, value in totals.items()},
            dead_letter_bytes=int(dead_bytes or 0),
        )  # fmt: skip

    # The scheduler's calls.

    async def lead(self, holder: str, *, ttl_s: float) -> LeaderToken | None:
        """Become or stay the leader."""
        return await self._leader.lead(holder, ttl_s=ttl_s)

    async def resign(self, token: LeaderToken) -> None:
        """Give leadership up."""
        await self._scripts.run("resign", token)

    async def load_pool(self) -> PoolView:
        """The whole state a new leader needs.

        The cursor is taken first: what happens meanwhile is then heard twice, not missed.
        """
        with translated():
            newest = await self._client.xrevrange(self._keys("signals"), count=1)
            signals = newest[0][0].decode() if newest else _START
            records = await self._instance_records()
        snapshots: list[Snapshot] = []
        events: dict[InstanceId, str] = {}
        for record in records:
            snapshot, event_id = await self.load_snapshot(record.instance_id)
            events[record.instance_id] = event_id
            if snapshot:
                snapshots.append(snapshot)
        with translated():
            placed = await self._placed_jobs(records)
        return PoolView(records, tuple(snapshots), tuple(placed), Cursor(signals, events))

    async def follow(self, cursor: Cursor, *, timeout_s: float) -> News:
        """What happened since the cursor."""
        keys = self._keys
        streams: dict[str, str] = {keys("signals"): cursor.signals}
        streams |= {keys("events", instance=i): at for i, at in cursor.events.items()}
        block_ms = _ms(min(timeout_s, SOCKET_TIMEOUT_S / 2)) or None
        with translated():
            reply = await self._client.xread(streams, count=SIGNALS_READ, block=block_ms)
        heard = news(cursor, reply, keys)
        if heard.signals:
            self._leader.hear(heard.cursor.signals)
        return heard

    async def peek(
        self, window_jobs: int, *, batch_window_jobs: int | None = None
    ) -> list[WaitingJob]:
        """The first jobs of each ingress queue."""
        return await self._peek(
            window_jobs, window_jobs if batch_window_jobs is None else batch_window_jobs
        )

    async def route(
        self, token: LeaderToken, assignments: Sequence[tuple[str, Assignment]]
    ) -> list[bool]:
        """Move waiting jobs to their instances' queues. Raises: NotLeader."""
        arguments: list[Argument] = [token]
        for ingress, a in assignments:
            arguments += (
                ingress, a.job_id, a.instance_id, encode(a), a.available_hit_tokens,
            )  # fmt: skip
        reply = await self._scripts.run("route", *arguments)
        self._peek.forget(a.job_id for _, a in assignments)
        return [bool(moved) for moved in _led(reply)]

    async def reap(self, token: LeaderToken, *, limit: int) -> Reaped:
        """Take back what the dead hold. Raises: NotLeader."""
        reply = await self._scripts.run(
            "reap", token, limit, self._max_attempts, self._result_ttl_s,
            *_failure_arguments(ATTEMPTS_USED_UP), *_failure_arguments(DEADLINE_PASSED),
            self._max_dead_letter_bytes,
        )  # fmt: skip
        *jobs, gone = _led(reply)
        requeued, failed, expired = (tuple(JobId(job.decode()) for job in each) for each in jobs)
        return Reaped(
            requeued, failed, expired, tuple(InstanceId(instance.decode()) for instance in gone)
        )

    async def load_snapshot(self, instance_id: InstanceId) -> tuple[Snapshot | None, str]:
        """An instance's newest snapshot and the event cursor that follows it."""
        with translated():
            blob = await self._client.get(self._keys("snapshot", instance=instance_id))
        if blob is None:
            return None, _START
        event_id, _, body = blob.partition(b"\n")
        return msgspec.msgpack.decode(body, type=Snapshot), event_id.decode()

    # The worker's calls.

    async def register(self, record: InstanceRecord, *, lease_s: float) -> None:
        """Begin a new life of an instance."""
        await self._scripts.run(
            "register", record.instance_id, record.epoch, encode(record), _ms(lease_s),
            encode(InstanceJoined(record)),
        )  # fmt: skip
        self._event_ids.pop(record.instance_id, None)
        self._rings.clear()  # its streams may be new, and the clock may have been set back
        await self._in_rq(RqWorker.announce, record)

    async def claim(
        self, record: InstanceRecord, *, number: int, jobs: int, tokens: int, num_held: int,
        lease_s: float,
    ) -> list[ClaimedJob]:  # fmt: skip
        """Lease jobs from the head of the instance's queue. Raises: InstanceFenced."""
        reply = await self._scripts.run(
            "claim", record.instance_id, record.epoch, number, jobs, tokens, num_held,
            _ms(lease_s), self._result_ttl_s, msgspec.json.encode(DEADLINE_PASSED),
        )  # fmt: skip
        return claimed_jobs(_unfenced(reply, record))

    async def listen(self, instance_id: InstanceId, *, timeout_s: float) -> frozenset[Ring]:
        """Wait until the instance's worker is called. A read, so that a full Redis allows it."""
        ring_of = {
            self._keys("doorbell", instance=instance_id): Ring.ASSIGNED,
            self._keys("recalls", instance=instance_id): Ring.RECALLED,
        }
        heard = {key: self._rings.get(key, _START) for key in ring_of}
        block_ms = _ms(min(timeout_s, SOCKET_TIMEOUT_S / 2)) or None
        try:
            with translated():
                reply = await self._client.xread(heard, block=block_ms)
        except BrokerUnavailable:
            self._rings.clear()  # another server may come, whose clock is behind this one's
            raise
        newest = {key.decode(): entries[-1][0].decode() for key, entries in reply}
        self._rings |= newest
        return frozenset(ring_of[key] for key in newest)

    async def renew(
        self, record: InstanceRecord, leases: Sequence[Lease], *, lease_s: float
    ) -> list[Lease]:
        """Renew the instance's own lease and those of its jobs. Raises: InstanceFenced."""
        composites = (f"{lease.job_id}:{lease.execution_id}" for lease in leases)
        reply = await self._scripts.run(
            "renew", record.instance_id, record.epoch, _ms(lease_s), RQ_WORKER_TTL_S, *composites
        )
        return leases_from(_unfenced(reply, record))

    async def finish(self, record: InstanceRecord, outcomes: Sequence[Outcome]) -> list[bool]:
        """Record how executions ended; the fence refuses lost leases."""
        arguments: list[Argument] = [
            record.instance_id, self._result_ttl_s, self._max_dead_letter_bytes,
        ]  # fmt: skip
        for outcome in outcomes:
            arguments += done_arguments(outcome)
        accepted = await self._scripts.run("done", *arguments)
        if self._confirmation:
            self._confirmation.watch()
        return [bool(ok) for ok in accepted]

    async def publish(self, batches: Sequence[EventBatch]) -> None:
        """Append block events to the instances' streams."""
        with translated():
            async with self._client.pipeline(transaction=False) as pipeline:
                for batch in batches:
                    key = self._keys("events", instance=batch.instance_id)
                    pipeline.xadd(key, {"b": encode(batch)}, maxlen=EVENTS_KEPT)
                event_ids = await pipeline.execute()
        for batch, event_id in zip(batches, event_ids, strict=True):
            self._event_ids[batch.instance_id] = event_id.decode()

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Store what the instance holds, with the id of the event entry it follows."""
        event_id = self._event_ids.get(snapshot.instance_id, _START)
        blob = event_id.encode() + b"\n" + encode(snapshot)
        with translated():
            await self._client.set(self._keys("snapshot", instance=snapshot.instance_id), blob)

    async def release(
        self, record: InstanceRecord, leases: Sequence[Lease], *, is_attempt: bool
    ) -> None:
        """Hand running jobs back."""
        arguments: list[Argument] = [record.instance_id, int(is_attempt)]
        for lease in leases:
            arguments += (lease.job_id, lease.execution_id)
        await self._scripts.run("release", *arguments)

    async def retire(self, record: InstanceRecord) -> None:
        """Leave the pool."""
        await self._scripts.run("retire", record.instance_id, record.epoch)
        await self._in_rq(RqWorker.depart, record)

    # Helpers.

    async def _in_rq(self, act: Callable[[str, str], None], record: InstanceRecord) -> None:
        queue = self._keys.instance_queue(record.instance_id)
        try:
            await asyncio.to_thread(act, self._redis_url, queue)
        except BrokerUnavailable as error:  # a full Redis: jobs run on without this record
            _log.warning("RQ's record of %s was not written: %s", queue, error)

    async def _instance_records(self) -> tuple[InstanceRecord, ...]:
        instances = await self._client.zrange(self._keys("instances"), 0, -1)
        async with self._client.pipeline(transaction=False) as pipeline:
            for instance in instances:
                pipeline.hget(self._keys("instance", instance=instance.decode()), "record")
            blobs = await pipeline.execute()
        return tuple(decode_record(blob) for blob in blobs if blob)

    async def _placed_jobs(self, records: Sequence[InstanceRecord]) -> list[PlacedJob]:
        where: dict[JobId, InstanceId] = {}
        for record in records:
            queue = self._keys.instance_queue(record.instance_id)
            running = await self._client.zrange(self._keys("started", queue=queue), 0, -1)
            assigned = await self._client.lrange(self._keys("queue", queue=queue), 0, -1)
            jobs = [composite.partition(b":")[0] for composite in running] + assigned
            where |= {JobId(job.decode()): record.instance_id for job in jobs}
        async with self._client.pipeline(transaction=False) as pipeline:
            for job_id in where:
                pipeline.hget(self._keys("job", job=job_id), "preble_spec")
                pipeline.get(self._keys("block_keys", job=job_id))
            fields = await pipeline.execute()
        return decode_placed(where, fields)


def _failure_arguments(failure: JobFailure) -> tuple[Argument, Argument]:
    """As the scripts take it: for us, and as RQ's result text."""
    return msgspec.json.encode(failure), rq_failure_text(failure)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _led(reply: Any) -> Any:  # noqa: ANN401  # a Lua reply
    if reply is None:
        msg = "another scheduler leads this pool"
        raise NotLeader(msg)
    return reply


def _unfenced(reply: Any, record: InstanceRecord) -> Any:  # noqa: ANN401  # a Lua reply
    if reply is None:
        msg = f"instance {record.instance_id} was taken over, or its lease ran out"
        raise InstanceFenced(msg)
    return reply

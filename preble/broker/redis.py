"""The production broker: RQ's queues on Redis or Valkey, moved by Lua.

Each call of the protocol is one script (`scripts/*.lua`, whose headers list keys, arguments,
reply, and why running twice is safe), or stands in a module beside this one. Twice does happen:
redis-py sends a command again when a connection breaks before the reply. Only this package imports
redis and rq.
"""

from collections.abc import Sequence
from typing import Final, Self

import msgspec

from preble.broker.answers import ATTEMPTS_USED_UP, CANCELLED, DEADLINE_PASSED, Admitted, Retried
from preble.broker.bounds import Bounds
from preble.broker.keys import PoolKeys
from preble.broker.lists import JobPage, JobQuery
from preble.broker.redis_admission import RedisAdmission
from preble.broker.redis_agreement import RedisAgreement
from preble.broker.redis_bulletin import RedisBulletin
from preble.broker.redis_client import Argument, connect
from preble.broker.redis_confirmation import Confirmation
from preble.broker.redis_counts import RedisCounts
from preble.broker.redis_custody import RedisCustody
from preble.broker.redis_leader import RedisLeader
from preble.broker.redis_lists import job_page, job_views, list_arguments
from preble.broker.redis_notes import RedisNotes
from preble.broker.redis_outcomes import done_arguments, failure_arguments
from preble.broker.redis_peek import RedisPeek
from preble.broker.redis_replies import claimed_jobs, job_view, leases_from, led, reaped, unfenced
from preble.broker.redis_rings import RedisRings
from preble.broker.redis_roster import RedisRoster
from preble.broker.redis_scripts import ScriptRunner
from preble.broker.redis_streams import RedisStreams
from preble.broker.redis_webhooks import RedisWebhooks
from preble.broker.rq_records import RqRecords
from preble.broker.rq_worker import RQ_WORKER_TTL_S
from preble.broker.scripts import load_scripts
from preble.config import Durability, Settings
from preble.messages import (
    NO_REPORT,
    Assignment,
    ClaimedJob,
    InstanceId,
    InstanceJoined,
    InstanceRecord,
    InstanceReport,
    JobId,
    JobState,
    JobView,
    LeaderToken,
    Lease,
    Outcome,
    Reaped,
    Ring,
    Submission,
    WaitingJob,
    encode,
)
from preble.metrics import RedisCalls

POSITION_DEPTH: Final = 10_000
"""Place in its queue up to which a job is told it."""


class RedisBroker:
    """The queue of one pool on one Redis primary. Implements `preble.broker.Broker`."""

    def __init__(
        self, redis_url: str, pool: str, *, bounds: Bounds, max_attempts: int, result_ttl_s: int,
        durability: Durability = "local", calls: RedisCalls | None = None,
    ) -> None:  # fmt: skip
        self._keys = PoolKeys(pool)
        calls = calls or RedisCalls(None)
        self._client = connect(redis_url, calls=calls)
        self._scripts = ScriptRunner(self._client, load_scripts(self._keys))
        calls.name_scripts(self._scripts.names)
        is_replicated = durability == "replicated"
        self._confirmation = Confirmation(self._client, self._keys) if is_replicated else None
        self._leader = RedisLeader(self._scripts)
        self.agreement = RedisAgreement(self._client, self._keys)
        self.bulletin = RedisBulletin(self._client, self._keys, self._leader)
        self.counts = RedisCounts(self._client, self._keys)
        self.custody = RedisCustody(self._scripts)
        self.roster = RedisRoster(self._scripts)
        self.notes = RedisNotes(self._client, self._scripts, self._keys)
        self.streams = RedisStreams(self._client, self._scripts, self._keys)
        self.webhooks = RedisWebhooks(self._client, self._scripts, self._keys)
        self._admission = RedisAdmission(
            self._client, self._scripts, self._keys, bounds=bounds, result_ttl_s=result_ttl_s,
            confirmation=self._confirmation,
        )  # fmt: skip
        self._peek = RedisPeek(self._scripts, self._keys)
        self._rings = RedisRings(self._client, self._keys)
        self._rq_records = RqRecords(redis_url, self._keys)
        self._max_attempts = max_attempts
        self._max_dead_letter_bytes = bounds.max_dead_letter_bytes
        self._max_ended_bytes = bounds.max_ended_bytes
        self._result_ttl_s = result_ttl_s

    @classmethod
    def from_settings(cls, settings: Settings, calls: RedisCalls | None = None) -> Self:
        """The broker that the settings name, its round trips counted. Connects on its first."""
        bounds = Bounds(
            settings.max_jobs, settings.max_prompt_bytes, settings.max_ingresses,
            settings.max_tenant_jobs, settings.tenant_jobs_per_s, settings.max_dead_letter_bytes,
            settings.max_ended_bytes,
        )  # fmt: skip
        return cls(
            settings.redis_url, settings.pool, bounds=bounds,
            max_attempts=settings.max_attempts, result_ttl_s=settings.result_ttl_s,
            durability=settings.durability, calls=calls,
        )  # fmt: skip

    async def close(self) -> None:
        """Release connections."""
        if self._confirmation:
            await self._confirmation.close()
        await self._client.aclose()

    # The api's calls.

    async def admit(self, batches: Sequence[Sequence[Submission]]) -> list[Admitted]:
        """Take new jobs, each batch whole or not at all."""
        return await self._admission.admit(batches)

    async def view(self, job_id: JobId) -> JobView | None:
        """A job as it stands."""
        reply = await self._scripts.run("view", job_id, POSITION_DEPTH)
        return job_view(job_id, reply) if reply else None

    async def views(self, job_ids: Sequence[JobId]) -> list[JobView | None]:
        """Jobs as they stand, without positions."""
        return job_views(job_ids, await self._scripts.run_each("view", [(i, 1) for i in job_ids]))

    async def cancel(self, job_ids: Sequence[JobId]) -> list[JobState | None]:
        """End jobs, wherever they stand."""
        reply = await self._scripts.run(
            "cancel", self._result_ttl_s, msgspec.json.encode(CANCELLED), *job_ids
        )
        return [JobState(state.decode()) if state else None for state in reply]

    async def list_jobs(self, query: JobQuery) -> JobPage:
        """A page of jobs."""
        return job_page(await self._scripts.run("list", *list_arguments(query)))

    async def retry(self, job_ids: Sequence[JobId]) -> list[Retried]:
        """Let failed jobs wait again."""
        return await self._admission.retry(job_ids)

    # The scheduler's calls.

    async def lead(self, holder: str, *, ttl_s: float) -> LeaderToken | None:
        """Become or stay the leader."""
        return await self._leader.lead(holder, ttl_s=ttl_s)

    async def resign(self, token: LeaderToken) -> None:
        """Give leadership up."""
        await self._leader.resign(token)

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
        return [bool(moved) for moved in led(reply)]

    async def reap(self, token: LeaderToken, *, limit: int) -> Reaped:
        """Take back what the dead hold. Raises: NotLeader."""
        reply = await self._scripts.run(
            "reap", token, limit, self._max_attempts, self._result_ttl_s,
            *failure_arguments(ATTEMPTS_USED_UP), *failure_arguments(DEADLINE_PASSED),
            self._max_dead_letter_bytes, self._max_ended_bytes,
        )  # fmt: skip
        return reaped(led(reply))

    # The worker's calls.

    async def register(self, record: InstanceRecord, *, lease_s: float) -> None:
        """Begin a new life of an instance."""
        await self._scripts.run(
            "register", record.instance_id, record.epoch, encode(record), _ms(lease_s),
            encode(InstanceJoined(record)),
        )  # fmt: skip
        self.bulletin.begin_anew(record.instance_id)
        self._rings.forget()  # its streams may be new, and the clock may have been set back
        await self._rq_records.announce(record.instance_id)

    async def claim(
        self, record: InstanceRecord, *, number: int, jobs: int, tokens: int, num_held: int,
        lease_s: float,
    ) -> list[ClaimedJob]:  # fmt: skip
        """Lease jobs from the head of the instance's queue. Raises: InstanceFenced."""
        reply = await self._scripts.run(
            "claim", record.instance_id, record.epoch, number, jobs, tokens, num_held,
            _ms(lease_s), self._result_ttl_s, msgspec.json.encode(DEADLINE_PASSED),
            self._max_ended_bytes,
        )  # fmt: skip
        return claimed_jobs(unfenced(reply, record.instance_id))

    async def listen(self, instance_id: InstanceId, *, timeout_s: float) -> frozenset[Ring]:
        """Wait until the instance's worker is called."""
        return await self._rings.listen(instance_id, timeout_s=timeout_s)

    async def renew(
        self, record: InstanceRecord, leases: Sequence[Lease], *, lease_s: float,
        report: InstanceReport = NO_REPORT,
    ) -> list[Lease]:  # fmt: skip
        """Renew the instance's own lease and those of its jobs. Raises: InstanceFenced."""
        composites = (f"{lease.job_id}:{lease.execution_id}" for lease in leases)
        reply = await self._scripts.run(
            "renew", record.instance_id, record.epoch, _ms(lease_s), RQ_WORKER_TTL_S,
            encode(report), *composites,
        )  # fmt: skip
        return leases_from(unfenced(reply, record.instance_id))

    async def finish(self, record: InstanceRecord, outcomes: Sequence[Outcome]) -> list[bool]:
        """Record how executions ended; the fence refuses lost leases."""
        arguments: list[Argument] = [
            record.instance_id, self._result_ttl_s, self._max_dead_letter_bytes,
            self._max_ended_bytes,
        ]  # fmt: skip
        for outcome in outcomes:
            arguments += done_arguments(outcome)
        accepted = await self._scripts.run("done", *arguments)
        if self._confirmation:
            self._confirmation.watch()
        return [bool(ok) for ok in accepted]

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
        await self._rq_records.depart(record.instance_id)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)

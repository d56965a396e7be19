"""The model's calls on a real broker, and a real Redis as the model sees it."""

from typing import Any, Final

import msgspec
import redis
from model.rules import Rules
from model.scripts import FENCED
from model.state import (
    GIVEN_UP,
    INGRESS,
    LAPSED,
    LIVE,
    NOBODY,
    QUARANTINE,
    Held,
    Instance,
    Job,
    Lease,
    Redis,
)
from support import assignment, completed, record, redis_broker, submission

from preble.broker.keys import PoolKeys
from preble.errors import InstanceFenced, NotLeader
from preble.messages import ExecutionId, InstanceId, JobId, LeaderToken
from preble.messages import Lease as RealLease

NAME: Final = "model"
LEASE_S: Final = 60.0
OVER_MS: Final = 1
"""A score that has passed and is not 0, which means given up."""


class RealPool:
    """A pool on a real Valkey, driven by calls as the model writes them."""

    def __init__(self, redis_url: str, jobs: int, instances: int) -> None:
        self.client: redis.Redis = redis.Redis.from_url(redis_url)
        self.client.flushall()
        self.broker = redis_broker(redis_url, NAME, max_attempts=Rules().max_attempts)
        self.keys = PoolKeys(NAME)
        self.jobs = range(jobs)
        self.instances = range(instances)
        self.ingress = self.keys.ingress_queue("normal", submission("any").spec.tenant)
        self._waiting = {INGRESS: self.ingress, QUARANTINE: self.keys.quarantine_queue}
        self._tokens: dict[int, LeaderToken] = {}
        self._executions: dict[Held, tuple[ExecutionId, int]] = {}

    async def close(self) -> None:
        await self.broker.close()
        self.client.close()

    async def call(self, *call: Any) -> object:  # noqa: ANN401  # whatever the script takes
        """Its reply in the model's words; None where the model's reply says nothing more."""
        name, *arguments = call
        try:
            return await getattr(self, f"_{name}")(*arguments)
        except (InstanceFenced, NotLeader):
            return FENCED

    async def _admit(self, job: int) -> object:
        refused = await self.broker.admit([[submission(f"j{job}")]])
        return "ok" if refused == [None] else refused

    async def _cancel(self, job: int) -> object:
        (state,) = await self.broker.cancel([JobId(f"j{job}")])
        return state and state.value

    async def _drain(self, instance: int) -> object:
        return await self.broker.roster.drain(InstanceId(f"g{instance}"))

    async def _resume(self, instance: int) -> object:
        await self.broker.roster.resume(InstanceId(f"g{instance}"))
        return 1

    async def _lead(self, holder: int) -> object:
        token = await self.broker.lead(f"h{holder}", ttl_s=LEASE_S)
        if token:
            self._tokens[holder] = token
        return holder if token else 0

    async def _resign(self, token: int) -> object:
        await self.broker.resign(self._tokens[token])
        return "ok"

    async def _route(self, token: int, ingress: str, job: int, instance: int) -> object:
        decided = assignment(submission(f"j{job}"), f"g{instance}")
        (moved,) = await self.broker.route(self._tokens[token], [(self._waiting[ingress], decided)])
        return moved

    async def _reap(self, token: int) -> object:
        reaped = await self.broker.reap(self._tokens[token], limit=100)
        moved = sorted(_number(job) for job in {*reaped.requeued, *reaped.failed})
        return tuple(moved), tuple(sorted(_number(instance) for instance in reaped.gone))

    async def _register(self, instance: int, epoch: int) -> object:
        await self.broker.register(record(f"g{instance}", f"e{epoch}"), lease_s=LEASE_S)
        return 1

    async def _retire(self, instance: int, epoch: int) -> None:
        await self.broker.retire(record(f"g{instance}", f"e{epoch}"))

    async def _claim(self, instance: int, epoch: int, claim: int, most: int, holds: int) -> object:
        claimed = await self.broker.claim(
            record(f"g{instance}", f"e{epoch}"), number=claim, jobs=most, tokens=10_000,
            num_held=holds, lease_s=LEASE_S,
        )  # fmt: skip
        for job in claimed:
            self._executions[_number(job.job_id), claim] = (job.execution_id, instance)
        return tuple((_number(job.job_id), claim, job.runs_alone) for job in claimed)

    async def _renew(self, instance: int, epoch: int, held: tuple[Held, ...]) -> object:
        lost = await self.broker.renew(
            record(f"g{instance}", f"e{epoch}"), [self._lease(each) for each in held],
            lease_s=LEASE_S,
        )  # fmt: skip
        return tuple((_number(lease.job_id), _claim_of(lease.execution_id)) for lease in lost)

    async def _done(self, *held: int) -> object:
        lease, instance = self._lease(held), self._executions[held[0], held[1]][1]
        (accepted,) = await self.broker.finish(record(f"g{instance}"), [completed(lease)])
        return accepted

    async def _release(self, job: int, execution: int, is_attempt: bool) -> object:  # noqa: FBT001  # as the Lua
        lease, instance = self._lease((job, execution)), self._executions[job, execution][1]
        await self.broker.release(record(f"g{instance}"), [lease], is_attempt=is_attempt)
        return "ok"

    def _lease(self, held: tuple[int, ...]) -> RealLease:
        job, execution = held
        return RealLease(JobId(f"j{job}"), self._executions[job, execution][0])

    # Time, and what there is.

    def run_out(self, before: Redis, after: Redis) -> None:
        """Let pass the time that the model let pass."""
        for old, new in zip(before.leases, after.leases, strict=True):
            if new.score == LAPSED != old.score:
                execution, _ = self._executions[new.job, new.execution]
                self._age("leases", f"j{new.job}:{execution}")
        for number, (was, now) in enumerate(zip(before.instances, after.instances, strict=True)):
            if was and now and was.is_live and not now.is_live:
                self._age("instances", f"g{number}")
        if before.leader and not after.leader:
            self.client.delete(self.keys("leader"))

    def _age(self, key: str, member: str) -> None:
        self.client.zadd(self.keys(key), {member: OVER_MS}, xx=True)

    def seen(self) -> Redis:
        """All that the model knows of it."""
        leader: Any = self.client.get(self.keys("leader"))
        return Redis(
            jobs=tuple(self._job(number) for number in self.jobs),
            ingress=self._queue(self.ingress), quarantine=self._queue(self.keys.quarantine_queue),
            queues=tuple(
                self._queue(self.keys.instance_queue(f"g{number}")) for number in self.instances
            ),
            leases=self._leases(),
            instances=tuple(self._instance(number) for number in self.instances),
            leader=int(leader.rpartition(b"-h")[2]) if leader else 0,
            drained=self._drained(),
            unended=int(self._field(self.keys("counts"), "jobs") or 0),
        )  # fmt: skip

    def _drained(self) -> tuple[int, ...]:
        names: Any = self.client.zrange(self.keys("drained"), 0, -1)
        return tuple(sorted(_number(name.decode()) for name in names))

    def _field(self, key: str, field: str) -> Any:  # noqa: ANN401  # bytes or None
        return self.client.hget(key, field)

    def _queue(self, queue: str) -> tuple[int, ...]:
        jobs: Any = self.client.lrange(self.keys("queue", queue=queue), 0, -1)
        return tuple(_number(job.decode()) for job in jobs)

    def _job(self, number: int) -> Job | None:
        key = self.keys("job", job=f"j{number}")
        state, instance, execution = (
            self._field(key, f"preble_{field}") for field in ("state", "instance", "execution")
        )
        if state is None:
            return None
        return Job(
            state.decode(), _number(instance.decode()) if instance else NOBODY,
            _claim_of(execution.decode()) if execution else 0,
            int(self._field(key, "preble_attempt")),
        )  # fmt: skip

    def _leases(self) -> tuple[Lease, ...]:
        """Of the leases and of the started registries, which must agree."""
        scores: Any = self.client.zrange(self.keys("leases"), 0, -1, withscores=True)
        started = {
            composite: number for number in self.instances for composite in self._started(number)
        }
        assert set(started) == {composite for composite, _ in scores}
        leases = (
            Lease(*_held(composite.decode()), started[composite], _class(score))
            for composite, score in scores
        )
        return tuple(sorted(leases))

    def _started(self, number: int) -> list[bytes]:
        queue = self.keys.instance_queue(f"g{number}")
        started: Any = self.client.zrange(self.keys("started", queue=queue), 0, -1)
        return list(started)

    def _instance(self, number: int) -> Instance | None:
        score: Any = self.client.zscore(self.keys("instances"), f"g{number}")
        key = self.keys("instance", instance=f"g{number}")
        epoch, claim, claimed = (self._field(key, field) for field in ("epoch", "claim", "claimed"))
        if score is None:
            assert epoch is None
            return None
        jobs = msgspec.msgpack.decode(claimed, type=list[str]) if claimed else []
        return Instance(
            int(epoch[1:]), _class(score) == LIVE, _class(score) == GIVEN_UP, int(claim or 0),
            tuple(_number(job) for job in jobs),
        )  # fmt: skip


def _number(name: str) -> int:
    return int(name[1:])


def _claim_of(execution: str) -> int:
    """Of an execution id: epoch, claim, index."""
    return int(execution.split("-")[1])


def _held(composite: str) -> Held:
    job, _, execution = composite.partition(":")
    return _number(job), _claim_of(execution)


def _class(score: float) -> int:
    return GIVEN_UP if score == 0 else LAPSED if score == OVER_MS else LIVE

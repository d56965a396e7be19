"""The Lua scripts, each as one function from Redis to Redis and reply; step by step the same.

`Queue` is what `preble/broker/scripts` does. Names of steps are those of the Lua. Mistakes made on
purpose (`mutants.py`) are subclasses.
"""

from typing import Any, Final

from model.rules import Rules, put, without
from model.state import (
    ASSIGNED,
    CANCELLED,
    COMPLETED,
    ENDED,
    FAILED,
    GIVEN_UP,
    INGRESS,
    LIVE,
    QUARANTINE,
    RUNNING,
    WAITING,
    Held,
    Instance,
    Job,
    Lease,
    Redis,
)

Reply = Any
"""Each script has its own; see its header."""

Result = tuple[Redis, Reply]

FENCED: Final = "fenced"


class Queue:
    """Every script. None of them keeps anything: state in, state and reply out."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def is_quarantined(self, job: Job) -> bool:
        """Of a waiting job: whether it may only run alone."""
        return 0 < self.rules.quarantine_after <= job.attempt

    # The api.

    def admit(self, redis: Redis, job: int) -> Result:
        if redis.jobs[job]:
            return redis, "ok"
        return redis._replace(
            jobs=put(redis.jobs, job, Job()), ingress=(*redis.ingress, job),
            unended=redis.unended + 1, news=(*redis.news, "admitted"),
        ), "ok"  # fmt: skip

    def cancel(self, redis: Redis, job_id: int) -> Result:
        """End a job wherever it stands; a deadline does the same."""
        job = redis.jobs[job_id]
        if not job or job.state in ENDED:
            return redis, job and job.state
        if job.state == WAITING:
            redis = self.leave_ingress(redis, self.waits_in(job), job_id)
        elif job.state == ASSIGNED:
            queue = without(redis.queues[job.instance], job_id)
            redis = redis._replace(queues=put(redis.queues, job.instance, queue))
        elif lease := _find(redis, job_id, job.execution):
            redis = self.end_execution(redis, lease)
        ended = job._replace(state=CANCELLED, execution=0)
        return self.conclude(redis, job_id, ended), CANCELLED

    # The operator.

    def drain(self, redis: Redis, instance: int) -> Result:
        if instance in redis.drained:
            return redis, True
        if redis.instances[instance] is None:
            return redis, False
        drained = tuple(sorted((*redis.drained, instance)))
        return redis._replace(drained=drained, news=(*redis.news, f"drained {instance}")), True

    def resume(self, redis: Redis, instance: int) -> Result:
        if instance not in redis.drained:
            return redis, 1
        drained = without(redis.drained, instance)
        return redis._replace(drained=drained, news=(*redis.news, f"resumed {instance}")), 1

    # The scheduler.

    def lead(self, redis: Redis, holder: int) -> Result:
        if redis.leader not in {0, holder}:
            return redis, 0
        return redis._replace(leader=holder), holder

    def resign(self, redis: Redis, token: int) -> Result:
        return (redis._replace(leader=0) if redis.leader == token else redis), "ok"

    def leads(self, redis: Redis, token: int) -> bool:
        return redis.leader == token

    def route(self, redis: Redis, token: int, ingress: str, job_id: int, instance: int) -> Result:
        if not self.leads(redis, token):
            return redis, FENCED
        record, job = redis.instances[instance], redis.jobs[job_id]
        if not (record and record.is_live and job) or self.is_drained(redis, instance):
            return redis, False
        if job.state != WAITING:
            return redis, job.instance == instance
        if job_id not in redis.waiting(ingress):
            return redis, False
        redis = self.leave_ingress(redis, ingress, job_id)
        queue = (*redis.queues[instance], job_id)
        return redis._replace(
            jobs=put(redis.jobs, job_id, job._replace(state=ASSIGNED, instance=instance)),
            queues=put(redis.queues, instance, queue),
        ), True  # fmt: skip

    def is_drained(self, redis: Redis, instance: int) -> bool:
        return instance in redis.drained

    def leave_ingress(self, redis: Redis, ingress: str, job_id: int) -> Redis:
        return redis.with_waiting(ingress, without(redis.waiting(ingress), job_id))

    def reap(self, redis: Redis, token: int) -> Result:
        """Unbounded; the Lua takes back at most `limit`, and goes on at the next call."""
        if not self.leads(redis, token):
            return redis, FENCED
        before = redis
        for lease in sorted(redis.leases, reverse=True):  # jobs are numbered as admitted
            if lease.score != LIVE:
                redis = self.take_back(redis, lease)
        gone = [
            number for number, record in enumerate(redis.instances) if record and not record.is_live
        ]
        for instance in gone:
            redis = self.remove_instance(redis, instance)
        for instance in redis.drained:
            redis = self.empty_queue(redis, instance)
        return redis, _reaped(before, redis, gone)

    def take_back(self, redis: Redis, lease: Lease) -> Redis:
        job = _job(redis, lease.job)
        redis = self.end_execution(redis, lease)
        if job.attempt < self.rules.max_attempts:
            return self.make_waiting(redis, lease.job)
        return self.conclude(redis, lease.job, job._replace(state=FAILED, execution=0))

    def make_waiting(self, redis: Redis, job_id: int) -> Redis:
        """To the front of its ingress queue, or of the quarantine."""
        job = _job(redis, job_id)
        job = Job(WAITING, attempt=job.attempt)
        redis = redis._replace(jobs=put(redis.jobs, job_id, job), news=(*redis.news, "reaped"))
        queue = self.waits_in(job)
        return redis.with_waiting(queue, (job_id, *redis.waiting(queue)))

    def waits_in(self, job: Job) -> str:
        """`origin` of a waiting job."""
        return QUARANTINE if self.is_quarantined(job) else INGRESS

    def empty_queue(self, redis: Redis, instance: int) -> Redis:
        for job_id in reversed(redis.queues[instance]):
            redis = self.make_waiting(redis, job_id)
        return redis._replace(queues=put(redis.queues, instance, ()))

    def remove_instance(self, redis: Redis, instance: int) -> Redis:
        redis = self.empty_queue(redis, instance)
        return redis._replace(
            instances=put(redis.instances, instance, None),
            news=(*redis.news, f"gone {instance}"),
        )

    # The worker.

    def register(self, redis: Redis, instance: int, epoch: int) -> Result:
        record = redis.instances[instance]
        if record and record.epoch == epoch:
            renewed = put(redis.instances, instance, self.renewed(record))
            return redis._replace(instances=renewed), 1
        leases = tuple(
            lease._replace(score=GIVEN_UP) if lease.instance == instance else lease
            for lease in redis.leases
        )
        return redis._replace(
            instances=put(redis.instances, instance, Instance(epoch)), leases=leases,
            news=redis.news if instance in redis.drained else (*redis.news, f"joined {instance}"),
        ), 1  # fmt: skip

    def retire(self, redis: Redis, instance: int, epoch: int) -> Result:
        record = redis.instances[instance]
        if not record or record.epoch != epoch:
            return redis, 0
        retired = record._replace(is_live=False, has_retired=True)
        return redis._replace(instances=put(redis.instances, instance, retired)), 1

    def renewed(self, record: Instance) -> Instance:
        """A life that has left does not come back by a copy of its calls."""
        return record if record.has_retired else record._replace(is_live=True)

    def claim(
        self, redis: Redis, instance: int, epoch: int, claim: int, most: int, holds: int
    ) -> Result:
        """Claims are numbered as they are made; a number below the last is a late copy.

        `holds`: jobs that the worker has not finished, its engine's and those that wait.
        """
        record = redis.instances[instance]
        if not record or record.epoch != epoch:
            return redis, FENCED
        if record.claim == claim:
            return redis, self.hand_over(redis, claim, record.claimed)
        if self.rules.orders_claims and claim < record.claim:
            return redis, ()
        claimed = self.claimable(redis, redis.queues[instance][:most], holds)
        for job_id in claimed:
            redis = self.lease(redis, job_id, instance, claim)
        record = record._replace(claim=claim, claimed=claimed)
        redis = redis._replace(instances=put(redis.instances, instance, record))
        return redis, self.hand_over(redis, claim, claimed)

    def claimable(self, redis: Redis, queue: tuple[int, ...], holds: int) -> tuple[int, ...]:
        """The head of the queue, up to a job that must run alone; that one all by itself."""
        for number, job_id in enumerate(queue):
            if self.is_quarantined(_job(redis, job_id)):
                return queue[:number] if number or holds else queue[:1]
        return queue

    def hand_over(self, redis: Redis, claim: int, claimed: tuple[int, ...]) -> Reply:
        """Those still leased, each with whether it must run alone."""
        mine = {lease.job for lease in redis.leases
                if lease.execution == claim and lease.score > GIVEN_UP}  # fmt: skip
        alone_from = self.rules.quarantine_after + 1
        return tuple(
            (job, claim, 1 < alone_from <= _job(redis, job).attempt)
            for job in claimed
            if job in mine
        )

    def lease(self, redis: Redis, job_id: int, instance: int, execution: int) -> Redis:
        job = _job(redis, job_id)
        job = job._replace(state=RUNNING, execution=execution, attempt=job.attempt + 1)
        return redis._replace(
            jobs=put(redis.jobs, job_id, job),
            leases=tuple(sorted((*redis.leases, Lease(job_id, execution, instance, LIVE)))),
            queues=put(redis.queues, instance, without(redis.queues[instance], job_id)),
        )

    def renew(self, redis: Redis, instance: int, epoch: int, held: tuple[Held, ...]) -> Result:
        record = redis.instances[instance]
        if not record or record.epoch != epoch or record.has_retired:
            return redis, FENCED
        kept = {lease[:2] for lease in redis.leases if lease.score > GIVEN_UP}
        leases = tuple(
            lease._replace(score=LIVE) if lease[:2] in kept and lease[:2] in held else lease
            for lease in redis.leases
        )
        renewed = put(redis.instances, instance, self.renewed(record))
        lost = tuple(each for each in held if each not in kept)
        return redis._replace(leases=leases, instances=renewed), lost

    def done(self, redis: Redis, job_id: int, execution: int) -> Result:
        job, lease = redis.jobs[job_id], _find(redis, job_id, execution)
        if lease is None:
            return redis, bool(job and job.execution == execution and job.state in ENDED)
        assert job
        redis = self.end_execution(redis, lease)
        return self.conclude(redis, job_id, job._replace(state=COMPLETED)), True

    def release(self, redis: Redis, job_id: int, execution: int, is_attempt: bool) -> Result:  # noqa: FBT001  # as the Lua
        lease, job = _find(redis, job_id, execution), redis.jobs[job_id]
        if lease is None or lease.score == GIVEN_UP:
            return redis, "ok"
        assert job
        leases = (*(each for each in redis.leases if each != lease),
                  lease._replace(score=GIVEN_UP))  # fmt: skip
        attempt = job.attempt - (not is_attempt)
        return redis._replace(
            leases=tuple(sorted(leases)),
            jobs=put(redis.jobs, job_id, job._replace(attempt=attempt)),
        ), "ok"  # fmt: skip

    # Shared, as in lib.lua.

    def end_execution(self, redis: Redis, lease: Lease) -> Redis:
        return redis._replace(leases=tuple(each for each in redis.leases if each != lease))

    def conclude(self, redis: Redis, job_id: int, ended: Job) -> Redis:
        return redis._replace(
            jobs=put(redis.jobs, job_id, ended), unended=redis.unended - 1,
            news=(*redis.news, "ended"),
        )  # fmt: skip


def _job(redis: Redis, job_id: int) -> Job:
    """Of a job that was admitted."""
    job = redis.jobs[job_id]
    assert job
    return job


def _find(redis: Redis, job_id: int, execution: int) -> Lease | None:
    return next((lease for lease in redis.leases if lease[:2] == (job_id, execution)), None)


def _reaped(before: Redis, after: Redis, gone: list[int]) -> Reply:
    """What REAP replies; what it also says in its signals."""
    moved = tuple(
        number
        for number, (old, new) in enumerate(zip(before.jobs, after.jobs, strict=True))
        if old != new
    )
    return moved, tuple(gone)

"""Mistakes made on purpose, one in each: the explorer must find every one of them."""

from typing import Final, NamedTuple

from model.rules import Rules, put
from model.scripts import Queue, Reply, Result
from model.setups import (
    CANCELS,
    CRASHES,
    DRAINED,
    DRAINS,
    LATE_COPIES,
    LEADERS,
    NEVER_ALONE,
    POISON,
    QUARANTINE,
)
from model.state import LIVE, RUNNING, Job, Lease, Redis
from model.steps import Setup


class DoneWithoutLease(Queue):
    """A result of an execution that lost its lease is taken."""

    def done(self, redis: Redis, job_id: int, execution: int) -> Result:
        job = redis.jobs[job_id]
        if job and job.state == RUNNING:
            execution = job.execution
        return super().done(redis, job_id, execution)


class RouteLeavesItInIngress(Queue):
    def leave_ingress(self, redis: Redis, ingress: str, job_id: int) -> Redis:
        del ingress, job_id
        return redis


class RouteByAnybody(Queue):
    def route(self, redis: Redis, token: int, ingress: str, job_id: int, instance: int) -> Result:
        del token
        return super().route(redis, redis.leader, ingress, job_id, instance)


class ReapByAnybody(Queue):
    def reap(self, redis: Redis, token: int) -> Result:
        del token
        return super().reap(redis, redis.leader)


class ReapTellsOnlyItsCaller(Queue):
    """The reply names what was taken back, the signals do not."""

    def reap(self, redis: Redis, token: int) -> Result:
        redis, reply = super().reap(redis, token)
        return redis._replace(news=()), reply


class PopBeforeLease(Queue):
    """The first call takes jobs off the queue, the next one leases them."""

    def claim(
        self, redis: Redis, instance: int, epoch: int, claim: int, most: int, holds: int
    ) -> Result:
        del holds
        record, queue = redis.instances[instance], redis.queues[instance]
        if not record or record.epoch != epoch:
            return redis, "fenced"
        if record.claim != claim:
            popped = put(redis.queues, instance, queue[most:])
            record = record._replace(claim=claim, claimed=queue[:most])
            known = put(redis.instances, instance, record)
            return redis._replace(queues=popped, instances=known), tuple(queue[:most])
        for job_id in record.claimed:
            redis = redis._replace(queues=put(redis.queues, instance, (job_id,)))
            redis = self.lease(redis, job_id, instance, claim)
        return redis, tuple((job, claim, False) for job in record.claimed)


class ClaimForgetsItsId(Queue):
    def claim(
        self, redis: Redis, instance: int, epoch: int, claim: int, most: int, holds: int
    ) -> Result:
        redis, reply = super().claim(redis, instance, epoch, claim, most, holds)
        record = redis.instances[instance]
        if record:
            forgotten = put(redis.instances, instance, record._replace(claim=0))
            redis = redis._replace(instances=forgotten)
        return redis, reply


class ClaimIgnoresWhatIsHeld(Queue):
    def claimable(self, redis: Redis, queue: tuple[int, ...], holds: int) -> tuple[int, ...]:
        del holds
        return super().claimable(redis, queue, 0)


class ClaimTakesAllTogether(Queue):
    def claimable(self, redis: Redis, queue: tuple[int, ...], holds: int) -> tuple[int, ...]:
        del redis, holds
        return queue


class ClaimDoesNotSayAlone(Queue):
    def hand_over(self, redis: Redis, claim: int, claimed: tuple[int, ...]) -> Reply:
        reply = super().hand_over(redis, claim, claimed)
        return tuple((job, execution, False) for job, execution, _ in reply)


class RunsAloneOnce(Queue):
    """A job that was alone and died goes back among the others."""

    def is_quarantined(self, job: Job) -> bool:
        return job.attempt == self.rules.quarantine_after


class DrainCountsAsDeath(Queue):
    def release(self, redis: Redis, job_id: int, execution: int, is_attempt: bool) -> Result:  # noqa: FBT001  # as the Lua
        del is_attempt
        return super().release(redis, job_id, execution, True)  # noqa: FBT003  # as the Lua


class ReleaseCountsTwice(Queue):
    def release(self, redis: Redis, job_id: int, execution: int, is_attempt: bool) -> Result:  # noqa: FBT001  # as the Lua
        for lease in redis.leases:
            if lease[:2] == (job_id, execution):
                alive = tuple(sorted({*redis.leases} - {lease} | {lease._replace(score=LIVE)}))
                redis = redis._replace(leases=alive)
        return super().release(redis, job_id, execution, is_attempt)


class ReapForgetsDeaths(Queue):
    """So a poison job comes back forever."""

    def make_waiting(self, redis: Redis, job_id: int) -> Redis:
        return super().make_waiting(redis._replace(jobs=put(redis.jobs, job_id, Job())), job_id)


class ReapDropsTheQueue(Queue):
    def remove_instance(self, redis: Redis, instance: int) -> Redis:
        return super().remove_instance(
            redis._replace(queues=put(redis.queues, instance, ())), instance
        )


class FailedStaysWithItsExecution(Queue):
    """The execution whose lease was lost hears that its result was taken."""

    def take_back(self, redis: Redis, lease: Lease) -> Redis:
        execution = (redis.jobs[lease.job] or Job()).execution
        redis = super().take_back(redis, lease)
        job = redis.jobs[lease.job] or Job()
        return redis._replace(jobs=put(redis.jobs, lease.job, job._replace(execution=execution)))


class CancelLeavesTheLease(Queue):
    def cancel(self, redis: Redis, job_id: int) -> Result:
        cancelled, reply = super().cancel(redis, job_id)
        return cancelled._replace(leases=redis.leases), reply


class CancelForgetsTheQuarantine(Queue):
    """It looks for a waiting job in the queue that the job was admitted to."""

    def cancel(self, redis: Redis, job_id: int) -> Result:
        cancelled, reply = super().cancel(redis, job_id)
        return cancelled._replace(quarantine=redis.quarantine), reply


class RouteToTheDrained(Queue):
    def is_drained(self, redis: Redis, instance: int) -> bool:
        del redis, instance
        return False


class RegisterTellsOfTheDrained(Queue):
    """A worker that comes back under a drained name joins the scheduler's instances."""

    def register(self, redis: Redis, instance: int, epoch: int) -> Result:
        before = redis
        redis, reply = super().register(redis, instance, epoch)
        if redis.instances[instance] != before.instances[instance]:
            redis = redis._replace(news=(f"joined {instance}",))
        return redis, reply


class ResumeTellsNobody(Queue):
    def resume(self, redis: Redis, instance: int) -> Result:
        redis, reply = super().resume(redis, instance)
        return redis._replace(news=()), reply


class Mutant(NamedTuple):
    """A mistake, where it is looked for, and the rule that it breaks there first."""

    queue: type[Queue]
    rule: str
    setup: Setup
    rules: Rules = QUARANTINE


_SHORT: Final = NEVER_ALONE
_ACCUSED: Final = POISON._replace(faults=0, drains=False)
_ONE_PLACE: Final = "every_job_is_in_one_place"
_HOLDER: Final = "only_the_holder_ends_a_job"
_ALONE: Final = "the_accused_runs_alone"

MUTANTS: Final = (
    Mutant(DoneWithoutLease, _HOLDER, CRASHES),
    Mutant(RouteLeavesItInIngress, _ONE_PLACE, CRASHES),
    Mutant(RouteByAnybody, "the_deposed_change_nothing", LEADERS, NEVER_ALONE),
    Mutant(ReapByAnybody, "the_deposed_change_nothing", LEADERS, NEVER_ALONE),
    Mutant(ReapTellsOnlyItsCaller, "the_leader_misses_nothing", LEADERS, NEVER_ALONE),
    Mutant(PopBeforeLease, _ONE_PLACE, CRASHES),
    Mutant(ClaimForgetsItsId, "twice_is_once", CRASHES),
    Mutant(Queue, "a_claim_serves_its_caller", LATE_COPIES, Rules(orders_claims=False)),
    Mutant(ClaimIgnoresWhatIsHeld, _ALONE, _ACCUSED),
    Mutant(ClaimTakesAllTogether, _ALONE, _ACCUSED),
    Mutant(ClaimDoesNotSayAlone, _ALONE, _ACCUSED),
    Mutant(RunsAloneOnce, _ALONE, _ACCUSED),
    Mutant(Queue, "the_innocent_do_not_fail", _ACCUSED, Rules(quarantine_after=0, max_attempts=3)),
    Mutant(DrainCountsAsDeath, "the_innocent_do_not_fail", DRAINS._replace(faults=0)),
    Mutant(ReleaseCountsTwice, "twice_is_once", CRASHES),
    Mutant(ReapForgetsDeaths, "every_job_can_end", _ACCUSED),
    Mutant(ReapDropsTheQueue, _ONE_PLACE, CRASHES),
    Mutant(FailedStaysWithItsExecution, _HOLDER, CRASHES, _SHORT),
    Mutant(RouteToTheDrained, "the_drained_get_no_more", DRAINED, _SHORT),
    Mutant(RegisterTellsOfTheDrained, "the_leader_misses_nothing", DRAINED, _SHORT),
    Mutant(ResumeTellsNobody, "every_job_can_end", DRAINED._replace(instances=1), _SHORT),
    Mutant(CancelLeavesTheLease, _ONE_PLACE, CANCELS),
    Mutant(CancelForgetsTheQuarantine, _ONE_PLACE, CANCELS),
)

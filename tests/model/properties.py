"""What must hold: of every state, and of every step."""

from collections.abc import Callable, Iterator
from typing import Final

from model.scripts import FENCED, Queue
from model.state import (
    ASSIGNED,
    COMPLETED,
    ENDED,
    FAILED,
    INGRESS,
    QUARANTINE,
    RUNNING,
    WAITING,
    Job,
    Life,
    Redis,
    State,
)
from model.steps import Setup, Step

StateRule = Callable[[Setup, Queue, State], bool]
StepRule = Callable[[Setup, Queue, State, Step], bool]


def every_job_is_in_one_place(setup: Setup, queue: Queue, state: State) -> bool:
    """In the one that its state names, and nowhere else; a running one has one lease."""
    del setup
    return all(
        _places(state.redis, number) == ([_place(queue, job)] if job else [])
        for number, job in enumerate(state.redis.jobs)
    )


def _place(queue: Queue, job: Job) -> tuple[object, ...]:
    if job.state == WAITING:
        return (queue.waits_in(job),)
    if job.state == ASSIGNED:
        return ("queue", job.instance)
    return ("lease", job.instance, job.execution) if job.state == RUNNING else ("ended",)


def _places(redis: Redis, job: int) -> list[tuple[object, ...]]:
    places: list[tuple[object, ...]] = []
    places += [(INGRESS,) for each in redis.ingress if each == job]
    places += [(QUARANTINE,) for each in redis.quarantine if each == job]
    for instance, queue in enumerate(redis.queues):
        places += [("queue", instance) for each in queue if each == job]
    places += [("lease", *lease[2:0:-1]) for lease in redis.leases if lease.job == job]
    known = redis.jobs[job]
    return [*places, ("ended",)] if known and known.state in ENDED else places


def counts_agree(setup: Setup, queue: Queue, state: State) -> bool:
    del setup, queue
    jobs = [job for job in state.redis.jobs if job]
    return state.redis.unended == sum(job.state not in ENDED for job in jobs)


def attempts_are_bounded(setup: Setup, queue: Queue, state: State) -> bool:
    del setup
    return all(
        job is None or 0 <= job.attempt <= queue.rules.max_attempts for job in state.redis.jobs
    )


def the_accused_runs_alone(setup: Setup, queue: Queue, state: State) -> bool:
    """Beside others it may die twice; then nothing else is in its life, not even a late one."""
    del setup
    return all(
        len({job for job, _ in life.held}) == 1
        for life in state.lives
        if life.is_alone or _holds_accused(queue, state.redis, life)
    )


def _holds_accused(queue: Queue, redis: Redis, life: Life) -> bool:
    accused_from = queue.rules.quarantine_after + 1
    if accused_from == 1:
        return False
    return any(
        job and job.state == RUNNING and job.execution == execution
        and job.attempt >= accused_from
        for job, execution in ((redis.jobs[number], each) for number, each in life.held)
    )  # fmt: skip


def the_innocent_do_not_fail(setup: Setup, queue: Queue, state: State) -> bool:
    """As long as fewer faults happen than deaths alone make a job poison."""
    deaths_alone = queue.rules.max_attempts - queue.rules.quarantine_after
    if not 0 <= setup.faults < deaths_alone:
        return True
    return all(job is None or job.state != FAILED for job in state.redis.jobs[: setup.innocent])


def the_leader_misses_nothing(setup: Setup, queue: Queue, state: State) -> bool:
    """Once it has read its news it looks if a job waits, and knows none that is gone or drained."""
    del setup, queue
    redis = state.redis
    has_waiting = bool(redis.ingress or redis.quarantine)
    return all(
        (each.is_awake or not has_waiting)
        and all(redis.instances[i] and i not in redis.drained for i in each.known)
        for each in state.schedulers
        if each.token and each.token == redis.leader and not each.news
    )


def an_end_is_final(setup: Setup, queue: Queue, state: State, step: Step) -> bool:
    del setup, queue
    if step.label.startswith("failover"):
        return True
    return all(
        old is None or old.state not in ENDED or bool(new and new.state == old.state)
        for old, new in zip(state.redis.jobs, step.redis.jobs, strict=True)
    )


def an_accepted_job_stays(setup: Setup, queue: Queue, state: State, step: Step) -> bool:
    del setup, queue
    if step.label.startswith("failover"):
        return True
    return all(new or not old for old, new in zip(state.redis.jobs, step.redis.jobs, strict=True))


def only_the_holder_ends_a_job(setup: Setup, queue: Queue, state: State, step: Step) -> bool:
    """A result comes from DONE with the lease, or it is refused and changes nothing."""
    del setup, queue
    completed = [_is_new(state, step, number) for number in range(len(state.redis.jobs))]
    if not step.call or step.call[0] != "done":
        return not any(completed)
    number: int = step.call[1]
    execution: int = step.call[2]
    if any(lease[:2] == (number, execution) for lease in state.redis.leases):
        return bool(step.reply) and completed[number]
    job = state.redis.jobs[number]
    is_mine = bool(job and job.state == COMPLETED and job.execution == execution)
    return step.redis == state.redis and step.reply == is_mine


def _is_new(state: State, step: Step, number: int) -> bool:
    old, new = state.redis.jobs[number], step.redis.jobs[number]
    return bool(new and new.state == COMPLETED and not (old and old.state == COMPLETED))


def the_deposed_change_nothing(setup: Setup, queue: Queue, state: State, step: Step) -> bool:
    """Neither a scheduler that does not lead, nor a life that was replaced."""
    del setup, queue
    if not step.call:
        return True
    name = step.call[0]
    if name in {"route", "reap"} and step.call[1] != state.redis.leader:
        return step.redis == state.redis and step.reply == FENCED
    if name in {"claim", "renew", "retire"}:
        instance: int = step.call[1]
        record = state.redis.instances[instance]
        if record is None or record.epoch != step.call[2]:
            return step.redis == state.redis
    return True


def twice_is_once(setup: Setup, queue: Queue, state: State, step: Step) -> bool:
    """Run again right after, a script changes nothing and replies the same.

    REAP replies what it did, so the second reply is empty: its signals say it, too.
    """
    del setup, state
    if not step.call:
        return True
    name, *arguments = step.call
    script = getattr(queue, str(name))
    again, reply = script(step.redis, *arguments)
    return bool(again == step.redis and (name == "reap" or reply == step.reply))


def a_lease_is_given_once(setup: Setup, queue: Queue, state: State, step: Step) -> bool:
    """CLAIM alone makes leases, of jobs that had none, and counts each as one attempt."""
    del setup, queue
    old, new = state.redis, step.redis
    if step.label.startswith("failover"):
        return True
    before = {lease.job for lease in old.leases}
    made = {lease.job for lease in new.leases} - before
    if made and step.call[0] != "claim":
        return False
    return all(_attempts(new, job) == _attempts(old, job) + 1 for job in made)


def the_drained_get_no_more(setup: Setup, queue: Queue, state: State, step: Step) -> bool:
    del setup, queue
    before, after = state.redis.queues, step.redis.queues
    return all(len(after[number]) <= len(before[number]) for number in state.redis.drained)


def a_claim_serves_its_caller(setup: Setup, queue: Queue, state: State, step: Step) -> bool:
    """A late copy of a claim leases nothing to a life that asks for nothing."""
    del setup, queue
    if not step.call or step.call[0] != "claim" or not step.label.startswith("late"):
        return True
    is_awaited = any(life.claim == step.call[3] for life in state.lives)
    lives = [life for life in state.lives if life.epoch == step.call[2]]
    return is_awaited or not lives or step.redis.leases == state.redis.leases


def _attempts(redis: Redis, number: int) -> int:
    job = redis.jobs[number]
    return job.attempt if job else 0


STATE_RULES: Final[tuple[StateRule, ...]] = (
    every_job_is_in_one_place, counts_agree, attempts_are_bounded, the_accused_runs_alone,
    the_innocent_do_not_fail, the_leader_misses_nothing,
)  # fmt: skip

STEP_RULES: Final[tuple[StepRule, ...]] = (
    an_end_is_final, an_accepted_job_stays, only_the_holder_ends_a_job,
    the_deposed_change_nothing, twice_is_once, a_lease_is_given_once,
    a_claim_serves_its_caller, the_drained_get_no_more,
)  # fmt: skip


def broken_rules(setup: Setup, queue: Queue, state: State) -> Iterator[str]:
    return (rule.__name__ for rule in STATE_RULES if not rule(setup, queue, state))


def broken_step_rules(setup: Setup, queue: Queue, state: State, step: Step) -> Iterator[str]:
    return (rule.__name__ for rule in STEP_RULES if not rule(setup, queue, state, step))

"""Jobs of a kind are alike, and so are instances: of their orders, one stands for all."""

from collections.abc import Callable
from typing import TypeVar

from model.state import NOBODY, Lease, Redis, State

T = TypeVar("T")
Order = tuple[int, ...]
"""For each old number its new one."""


def in_order(state: State, innocent: int) -> State:
    """The same state, instances and then innocent jobs numbered by what befell them.

    Ties keep their order, so some states that are alike stay two: more work, no other result.
    """
    instances = range(len(state.redis.instances))
    if len(instances) > 1:
        order = _ranks(instances, lambda number: _of_instance(state, number, innocent))
        state = _renumbered(state, tuple(range(len(state.redis.jobs))), order)
    if innocent > 1:
        ranks = _ranks(range(innocent), lambda number: _of_job(state.redis, number))
        order = (*ranks, *range(innocent, len(state.redis.jobs)))
        state = _renumbered(state, order, tuple(instances))
    return state


def _ranks(numbers: range, key: Callable[[int], tuple[object, ...]]) -> Order:
    ordered = sorted(numbers, key=key)
    return tuple(ordered.index(number) for number in numbers)


def _of_instance(state: State, number: int, innocent: int) -> tuple[object, ...]:
    record = state.redis.instances[number]
    queue = state.redis.queues[number]
    lives = [
        (life.is_leaving, life.is_alone, life.claim > 0, [job < innocent for job, _ in life.held])
        for life in state.lives
        if life.instance == number
    ]
    leases = [(lease.job < innocent, lease.score) for lease in state.redis.leases
              if lease.instance == number]  # fmt: skip
    return (
        record is None,
        bool(record and record.is_live),
        [*map(innocent.__gt__, queue)],
        leases,
        lives,
    )


def _of_job(redis: Redis, number: int) -> tuple[object, ...]:
    job = redis.jobs[number]
    if job is None:
        return ("",)
    at = redis.queues[job.instance].index(number) if job.state == "assigned" else 0
    score = next((lease.score for lease in redis.leases if lease.job == number), 0)
    return job.state, job.instance, job.attempt, at, score


def _renumbered(state: State, jobs: Order, instances: Order) -> State:
    if jobs == tuple(range(len(jobs))) and instances == tuple(range(len(instances))):
        return state
    lives = [
        life._replace(
            instance=instances[life.instance],
            held=tuple([(jobs[job], execution) for job, execution in life.held]),
        )
        for life in state.lives
    ]
    lives.sort(key=lambda life: life.instance)
    return state._replace(redis=_redis(state.redis, jobs, instances), lives=tuple(lives))


def _redis(redis: Redis, jobs: Order, instances: Order) -> Redis:
    def renamed(queue: tuple[int, ...]) -> tuple[int, ...]:
        return tuple([jobs[job] for job in queue])

    records = [each and each._replace(claimed=renamed(each.claimed)) for each in redis.instances]
    known = [
        job and job._replace(instance=NOBODY if job.instance < 0 else instances[job.instance])
        for job in redis.jobs
    ]
    leases = [
        Lease(jobs[lease.job], lease.execution, instances[lease.instance], lease.score)
        for lease in redis.leases
    ]
    return redis._replace(
        jobs=tuple(_moved(known, jobs)), ingress=renamed(redis.ingress),
        quarantine=renamed(redis.quarantine), leases=tuple(sorted(leases)),
        queues=tuple(_moved([renamed(queue) for queue in redis.queues], instances)),
        instances=tuple(_moved(records, instances)),
    )  # fmt: skip


def _moved(items: list[T], order: Order) -> list[T]:
    return [items[order.index(number)] for number in range(len(order))]

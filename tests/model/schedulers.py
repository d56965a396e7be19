"""What schedulers do: every step of their processes that reaches Redis or hears of it."""

from collections.abc import Iterator

from model.rules import put
from model.scripts import FENCED, Reply
from model.state import INGRESS, LIVE, QUARANTINE, Redis, Scheduler, State
from model.steps import Call, Kind, Step
from model.workers import Caller

ALWAYS = 1
"""Token of the scheduler that leads forever, where none is modelled."""


def schedule(world: Caller, state: State) -> Iterator[Step]:
    if not state.schedulers:
        yield from _place(world, state, ALWAYS, range(world.setup.instances))
        if _may_reap(state.redis):
            after, reply = world.call(state, "reap", ALWAYS)
            yield Step("reap", Kind.FAIR, after, ("reap", ALWAYS), reply)
        return
    for at, scheduler in enumerate(state.schedulers):
        if scheduler.token:
            yield from _work(world, state, at)
        elif state.redis.leader == 0:
            yield _take_over(world, state, at)


def _place(
    world: Caller, state: State, token: int, instances: range | tuple[int, ...]
) -> Iterator[Step]:
    redis = state.redis
    waiting = [(INGRESS, job) for job in redis.ingress]
    waiting += [(QUARANTINE, job) for job in redis.quarantine]
    for ingress, job in waiting:
        for instance in instances:
            call: Call = ("route", token, ingress, job, instance)
            after, reply = world.call(state, *call)
            if after != state or reply == FENCED:
                yield Step(f"route {job} to {instance}", Kind.FAIR, after, call, reply)


def _may_reap(redis: Redis) -> bool:
    return any(lease.score != LIVE for lease in redis.leases) or any(
        (record and not record.is_live) or (number in redis.drained and redis.queues[number])
        for number, record in enumerate(redis.instances)
    )


def _take_over(world: Caller, state: State, at: int) -> Step:
    """A standby becomes the leader, under a token of this term, and loads the pool."""
    token = world.fresh()
    after, reply = world.call(state, "lead", token)
    leader = Scheduler(token, is_awake=True, known=_loaded(after.redis))
    return Step(
        f"scheduler {at} leads", Kind.FAIR, _changed(after, at, leader), ("lead", token), reply
    )


def _loaded(redis: Redis) -> tuple[int, ...]:
    """The instances of `load_pool`."""
    registered = (number for number, record in enumerate(redis.instances) if record)
    return tuple(number for number in registered if number not in redis.drained)


def _work(world: Caller, state: State, at: int) -> Iterator[Step]:
    scheduler = state.schedulers[at]
    who = f"scheduler {at}"
    if scheduler.news:
        yield Step(f"{who} hears", Kind.FAIR, _changed(state, at, _heard(state.redis, scheduler)))
    if scheduler.is_awake:
        for step in _place(world, state, scheduler.token, scheduler.known):
            yield _deposed(step, at)
        if not (state.redis.ingress or state.redis.quarantine):
            asleep = scheduler._replace(is_awake=False)
            yield Step(f"{who} sees nothing wait", Kind.FAIR, _changed(state, at, asleep))
    yield from _reap(world, state, at)
    call: Call = ("resign", scheduler.token)
    after, reply = world.call(state, *call)
    yield Step(f"{who} resigns", Kind.OPERATOR, _changed(after, at, Scheduler()), call, reply)
    yield Step(f"{who} dies", Kind.FAULT, _changed(state, at, Scheduler()))


def _reap(world: Caller, state: State, at: int) -> Iterator[Step]:
    call: Call = ("reap", state.schedulers[at].token)
    after, reply = world.call(state, *call)
    step = Step(f"scheduler {at} reaps", Kind.FAIR, after, call, reply)
    if reply == FENCED:
        yield _deposed(step, at)
    elif after != state:
        yield step._replace(label=f"{step.label}, reply lost", kind=Kind.FAULT)
        yield step._replace(after=_changed(after, at, _told_by_reply(after.schedulers[at], reply)))


def _told_by_reply(scheduler: Scheduler, reply: Reply) -> Scheduler:
    """What was taken back wakes it; what is gone, it forgets."""
    _, gone = reply
    known = tuple(each for each in scheduler.known if each not in gone)
    return scheduler._replace(is_awake=True, known=known)


def _heard(redis: Redis, scheduler: Scheduler) -> Scheduler:
    """Of an instance that is resumed it loads what there is."""
    known, is_awake = set(scheduler.known), scheduler.is_awake
    for word in scheduler.news:
        what, _, instance = word.partition(" ")
        if what == "gone":
            known.discard(int(instance))
        elif what == "drained":
            known.discard(int(instance))
            is_awake = True
        elif what == "resumed":
            known |= {int(instance)} & {*_loaded(redis)}
            is_awake = True
        else:
            known |= {int(instance)} if instance else set()
            is_awake = True
    return Scheduler(scheduler.token, is_awake, tuple(sorted(known)))


def _deposed(step: Step, at: int) -> Step:
    """A scheduler that is refused stands by."""
    if step.reply != FENCED:
        return step
    return step._replace(after=_changed(step.after, at, Scheduler()))


def _changed(state: State, at: int, scheduler: Scheduler) -> State:
    return state._replace(schedulers=put(state.schedulers, at, scheduler))

"""What workers do, and what befalls them: what of `life.py` and `leases.py` reaches Redis."""

from collections.abc import Iterator
from typing import Protocol

from model.scripts import FENCED, Reply
from model.state import Held, Life, State
from model.steps import Call, Kind, Setup, Step


class Caller(Protocol):
    """Runs a script, and hands its news on."""

    setup: Setup

    def call(self, state: State, *call: object) -> tuple[State, Reply]: ...
    def fresh(self) -> int: ...


def begin(world: Caller, state: State) -> Iterator[Step]:
    """A supervisor starts what is missing; an operator by mistake a second one."""
    for instance in range(world.setup.instances):
        beside = sum(life.instance == instance for life in state.lives)
        if beside < world.setup.lives:
            epoch = world.fresh()
            call: Call = ("register", instance, epoch)
            after, reply = world.call(state, *call)
            after = after._replace(lives=(*after.lives, Life(instance, epoch)))
            kind = Kind.FAULT if beside else Kind.FAIR
            yield Step(f"a life of {instance} begins", kind, after, call, reply)


def live(world: Caller, state: State, at: int) -> Iterator[Step]:
    """All that one life may do next."""
    life = state.lives[at]
    yield from _read_claim(world, state, at) if life.claim else _claim(world, state, at)
    yield from _renew(world, state, at)
    for held in life.held:
        yield from _finish(world, state, at, held)
    yield from _leave(world, state, at) if life.is_leaving else _end(world, state, at)
    is_guilty = any(world.setup.is_poison(job) for job, _ in life.held)
    kind = Kind.FAIR if is_guilty else Kind.FAULT
    yield Step(f"{_name(life)} dies", kind, _changed(state, at, None))


def is_current(state: State, life: Life) -> bool:
    record = state.redis.instances[life.instance]
    return bool(record and record.epoch == life.epoch)


def _claim(world: Caller, state: State, at: int) -> Iterator[Step]:
    """The reply is always lost at first, so that anything may happen before it is read."""
    life = state.lives[at]
    if life.is_leaving or life.is_alone or not is_current(state, life):
        return
    for most in range(1, len(state.redis.queues[life.instance]) + 1):
        claim = world.fresh()
        call: Call = ("claim", life.instance, life.epoch, claim, most, len(life.held))
        after, reply = world.call(state, *call)
        if reply:
            after = _changed(after, at, life._replace(claim=claim))
            yield Step(f"{_name(life)} claims {most}", Kind.FAIR, after, call, reply)


def _read_claim(world: Caller, state: State, at: int) -> Iterator[Step]:
    """It asks again with the same claim id, and the reply arrives."""
    life = state.lives[at]
    call: Call = ("claim", life.instance, life.epoch, life.claim, 1, len(life.held))
    after, reply = world.call(state, *call)
    if reply == FENCED:
        yield Step(f"{_name(life)} is fenced", Kind.FAIR, _changed(after, at, None), call, reply)
        return
    came = tuple((job, execution) for job, execution, _ in reply)
    is_alone = any(alone for *_, alone in reply)
    life = life._replace(claim=0, held=life.held + came, is_alone=is_alone)
    after = _changed(after, at, life)
    yield Step(f"{_name(life)} reads what it claimed", Kind.FAIR, after, call, reply)


def _renew(world: Caller, state: State, at: int) -> Iterator[Step]:
    life = state.lives[at]
    call: Call = ("renew", life.instance, life.epoch, life.held)
    after, lost = world.call(state, *call)
    if lost == FENCED:
        yield Step(f"{_name(life)} is fenced", Kind.FAIR, _changed(after, at, None), call, lost)
        return
    after = _changed(after, at, _dropped(life, *lost))
    if after != state:
        yield Step(f"{_name(life)} renews", Kind.FAIR, after, call, lost)


def _finish(world: Caller, state: State, at: int, held: Held) -> Iterator[Step]:
    """Whatever became of the lease; its reply may be lost."""
    life = state.lives[at]
    if world.setup.is_poison(held[0]):
        return
    call: Call = ("done", *held)
    after, reply = world.call(state, *call)
    label = f"{_name(life)} finishes {held[0]}"
    yield Step(label, Kind.FAIR, _changed(after, at, _dropped(life, held)), call, reply)
    if after != state:
        yield Step(f"{label}, reply lost", Kind.FAULT, after, call, reply)


def _end(world: Caller, state: State, at: int) -> Iterator[Step]:
    """It begins to leave: told to drain, or its engine is lost."""
    if world.setup.drains:
        life = state.lives[at]._replace(is_leaving=True)
        yield Step(f"{_name(life)} drains", Kind.OPERATOR, _changed(state, at, life))


def _leave(world: Caller, state: State, at: int) -> Iterator[Step]:
    """It hands back what it holds, as tried or not, then retires."""
    life = state.lives[at]
    is_guilty = any(world.setup.is_poison(job) for job, _ in life.held)
    for held in life.held:
        for is_attempt in (False, True):
            call: Call = ("release", *held, is_attempt)
            after, reply = world.call(state, *call)
            label = f"{_name(life)} hands back {held[0]}{' as tried' if is_attempt else ''}"
            kind = Kind.FAULT if is_attempt and not is_guilty else Kind.FAIR
            yield Step(label, kind, _changed(after, at, _dropped(life, held)), call, reply)
            if after != state:
                yield Step(f"{label}, reply lost", Kind.FAULT, after, call, reply)
    if not life.held and not life.claim:
        call = ("retire", life.instance, life.epoch)
        after, reply = world.call(state, *call)
        yield Step(f"{_name(life)} retires", Kind.FAIR, _changed(after, at, None), call, reply)


def _dropped(life: Life, *lost: Held) -> Life:
    held = tuple(each for each in life.held if each not in lost)
    return life._replace(held=held, is_alone=life.is_alone and bool(held))


def _changed(state: State, at: int, life: Life | None) -> State:
    lives = state.lives[:at] + ((life,) if life else ()) + state.lives[at + 1 :]
    return state._replace(lives=lives)


def _name(life: Life) -> str:
    return f"life {life.epoch} of {life.instance}"

"""What a step of the model is, and what a setup allows."""

from enum import Enum
from typing import Any, NamedTuple

from model.scripts import Reply
from model.state import Redis, Scheduler, State

Call = tuple[Any, ...]
"""A script's name and its arguments."""


class Kind(Enum):
    """What a step needs to happen."""

    FAIR = "happens by itself, sooner or later"
    OPERATOR = "somebody asks for it"
    FAULT = "something breaks"


class Setup(NamedTuple):
    """The bounds of one exploration."""

    name: str
    innocent: int = 1
    poison: int = 0
    instances: int = 1
    lives: int = 1
    """Of one instance at the same time; the second beside a first is a fault."""
    faults: int = -1
    """How many may happen; -1 for any number."""
    schedulers: int = 0
    """0 for one that leads forever and misses nothing."""
    admits: bool = False
    """Whether jobs come one by one; else they are there."""
    cancels: bool = False
    drains: bool = True
    takes_out: bool = False
    """Whether instances are drained, and resumed some time."""
    repeats_late: bool = False
    """Whether a call may be run once more at any later time."""
    lost_writes: int = 0
    """How many a failover may take back; it comes once."""

    @property
    def jobs(self) -> int:
        """Innocent ones come first."""
        return self.innocent + self.poison

    def is_poison(self, job: int) -> bool:
        return job >= self.innocent


class Step(NamedTuple):
    """One transition, and the script that it ran."""

    label: str
    kind: Kind
    after: State
    call: Call = ()
    reply: Reply = None
    written: Redis | None = None

    @property
    def redis(self) -> Redis:
        """Redis after it, under the names of before."""
        return self.written or self.after.redis


def told(schedulers: tuple[Scheduler, ...], news: tuple[str, ...]) -> tuple[Scheduler, ...]:
    """Signals as each leader will read them; only the last word on an instance matters."""
    if not news or not schedulers:
        return schedulers
    return tuple([_told(each, news) if each.token else each for each in schedulers])


def _told(scheduler: Scheduler, news: tuple[str, ...]) -> Scheduler:
    unread = {_about(word): word for word in (*scheduler.news, *news) if word != "ended"}
    return scheduler._replace(news=tuple(sorted(unread.values())))


def _about(word: str) -> str:
    return word.rpartition(" ")[2] if " " in word else "jobs"


def remembered(state: State, before: Redis, most: int) -> State:
    """What a replica may still have, if it is the last `most` writes behind."""
    if not most or state.redis == before or state.has_failed_over:
        return state
    return state._replace(past=(before, *state.past)[:most])

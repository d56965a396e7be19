"""What the model knows of a pool: Redis as the scripts see it, and the processes beside it.

Everything is a tuple, so that states compare, hash and are visited once. Time is left out: a
lease is live, or has run out and is not yet taken back, or was given up (score 0 in Redis).
"""

from typing import Any, Final, NamedTuple

WAITING: Final = "waiting"
ASSIGNED: Final = "assigned"
RUNNING: Final = "running"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
ENDED: Final = (COMPLETED, FAILED, CANCELLED)

GIVEN_UP: Final = 0
LAPSED: Final = 1
LIVE: Final = 2

INGRESS: Final = "ingress"
QUARANTINE: Final = "quarantine"

NOBODY: Final = -1
"""No instance."""


class Job(NamedTuple):
    """The fields of `rq:job:{id}` that decide anything."""

    state: str = WAITING
    instance: int = NOBODY
    execution: int = 0
    attempt: int = 0
    """Executions begun and not handed back in good order: at REAP, deaths."""


class Lease(NamedTuple):
    """An entry of `preble:{pool}:leases`, and whose started registry holds it, too."""

    job: int
    execution: int
    instance: int
    score: int


class Instance(NamedTuple):
    """`preble:{pool}:instance:{id}`, and whether its own lease is live."""

    epoch: int
    is_live: bool = True
    has_retired: bool = False
    claim: int = 0
    claimed: tuple[int, ...] = ()


class Redis(NamedTuple):
    """All that survives the processes."""

    jobs: tuple[Job | None, ...]
    ingress: tuple[int, ...]
    quarantine: tuple[int, ...]
    queues: tuple[tuple[int, ...], ...]
    leases: tuple[Lease, ...]
    instances: tuple[Instance | None, ...]
    leader: int = 0
    drained: tuple[int, ...] = ()
    """Instances that get no more jobs, in order."""
    unended: int = 0
    """`jobs` of `preble:{pool}:counts`."""
    news: tuple[str, ...] = ()
    """Signals of the last call; the model hands them on at once."""

    def waiting(self, queue: str) -> tuple[int, ...]:
        """Jobs of `ingress` or `quarantine`."""
        return self.quarantine if queue == QUARANTINE else self.ingress

    def with_waiting(self, queue: str, jobs: tuple[int, ...]) -> "Redis":
        """The same with other jobs in that queue."""
        return (
            self._replace(quarantine=jobs) if queue == QUARANTINE else self._replace(ingress=jobs)
        )


Held = tuple[int, int]
"""Job and execution, as the worker knows its lease."""


class Life(NamedTuple):
    """One registration of a worker, as that worker sees it. The dead are left out."""

    instance: int
    epoch: int
    claim: int = 0
    """Number of the claim whose reply it has not read; it asks again until it has."""
    is_leaving: bool = False
    """It claims no more: it drains, or its engine is lost."""
    is_alone: bool = False
    """What it holds must run alone, so it claims nothing beside."""
    held: tuple[Held, ...] = ()


class Scheduler(NamedTuple):
    """What one scheduler process believes."""

    token: int = 0
    is_awake: bool = False
    """Whether it thinks that jobs may wait; else it does not look."""
    known: tuple[int, ...] = ()
    """Instances that it thinks are there."""
    news: tuple[str, ...] = ()
    """Signals that it has not read."""


class State(NamedTuple):
    """Everything at one moment."""

    redis: Redis
    lives: tuple[Life, ...] = ()
    schedulers: tuple[Scheduler, ...] = ()
    faults_left: int = 0
    late: tuple[Any, ...] = ()
    """A call whose copy is still on its way, to be run again at any time."""
    past: tuple[Redis, ...] = ()
    """What a replica may still have instead, newest first."""
    has_failed_over: bool = False


def empty(jobs: int, instances: int) -> Redis:
    """A pool before anything happened."""
    return Redis((None,) * jobs, (), (), ((),) * instances, (), (None,) * instances)

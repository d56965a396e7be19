"""States that differ only in names, or in which of two like jobs is which, become one."""

from collections.abc import Callable

from model.state import ENDED, Instance, Job, Lease, Life, Redis, Scheduler, State
from model.steps import Call
from model.symmetry import in_order

FRESH = 10_000
"""A name that nothing has yet."""

UNKNOWN = -1
"""A claim of which only is known that nobody asks for it any more."""


class _Names:
    """Numbers names from 1 in the order in which they are met, after those given."""

    def __init__(self, *first: int) -> None:
        self._numbers = {name: number for number, name in enumerate((0, *first))}

    def __call__(self, name: int) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def known(self, name: int, otherwise: int = 0) -> int:
        """Its number, if anybody still uses it."""
        return self._numbers.get(name, otherwise)


_NAMED: dict[str, tuple[tuple[int, str], ...]] = {
    "claim": ((2, "epoch"), (3, "claim")),
    "register": ((2, "epoch"),),
    "retire": ((2, "epoch"),),
    "done": ((2, "claim"),),
    "release": ((2, "claim"),),
    "lead": ((1, "token"),),
    "resign": ((1, "token"),),
    "route": ((1, "token"),),
    "reap": ((1, "token"),),
}
"""Where names stand in a call."""


def canonical(state: State, innocent: int) -> State:
    """The same state with its names counted from 1, and what nobody can ask for forgotten.

    Args:
        state: Any state.
        innocent: Jobs that are alike: which is which does not matter.
    """
    if not (state.schedulers or state.late or state.past):
        state = in_order(state, innocent)
    claims, epochs, tokens = _Names(*_claims_in_use(state)), _Names(), _Names()
    redis = _named_leases(state.redis, claims)
    lives = tuple([_renamed_life(life, claims, epochs) for life in state.lives])
    schedulers = _renamed_schedulers(state, tokens)
    late = _renamed_call(state.late, {"claim": claims, "epoch": epochs, "token": tokens})
    past = [_named_leases(each, claims) for each in state.past]
    asked = {life.claim for life in state.lives} | _late_claims(state.late)
    redis, *past = [_renamed_redis(each, claims, epochs, tokens, asked) for each in (redis, *past)]
    return State(
        redis, lives, schedulers, state.faults_left, late, tuple(past), state.has_failed_over
    )


def _claims_in_use(state: State) -> list[int]:
    """In the order in which they were made."""
    used = {lease.execution for redis in (state.redis, *state.past) for lease in redis.leases}
    used |= {execution for life in state.lives for _, execution in life.held}
    used |= {life.claim for life in state.lives} | _late_claims(state.late)
    if state.late or state.past or state.has_failed_over:
        used |= {each.claim for redis in (state.redis, *state.past)
                 for each in redis.instances if each}  # fmt: skip
    return sorted(used - {0, UNKNOWN})


def _late_claims(call: Call) -> set[int]:
    """What a late copy names."""
    if not call or call[0] not in {"claim", "done", "release", "renew"}:
        return set()
    if call[0] == "renew":
        return {execution for _, execution in call[3]}
    return {call[3 if call[0] == "claim" else 2]}


def _named_leases(redis: Redis, claims: Callable[[int], int]) -> Redis:
    named = tuple([
        Lease(lease.job, claims(lease.execution), lease.instance, lease.score)
        for lease in redis.leases
    ])  # fmt: skip
    return redis if named == redis.leases else redis._replace(leases=named)


def _renamed_redis(
    redis: Redis, claims: _Names, epochs: Callable[[int], int],
    tokens: Callable[[int], int], asked: set[int],
) -> Redis:  # fmt: skip
    renamed = Redis(
        tuple([job and _renamed_job(job, claims) for job in redis.jobs]),
        tuple(sorted(redis.ingress)), tuple(sorted(redis.quarantine)), redis.queues, redis.leases,
        tuple([each and _renamed(each, claims, epochs, asked) for each in redis.instances]),
        tokens(redis.leader), redis.drained, redis.unended,
    )  # fmt: skip
    return redis if renamed == redis else renamed


def _renamed_schedulers(state: State, tokens: Callable[[int], int]) -> tuple[Scheduler, ...]:
    """In an order of what they believe: which is which does not matter."""
    leader = state.redis.leader
    if not state.schedulers:
        return ()
    ordered = sorted(state.schedulers, key=lambda each: (each.token == leader, each[1:]))
    return tuple([each._replace(token=tokens(each.token)) for each in ordered])


def _renamed_life(life: Life, claims: Callable[[int], int], epochs: Callable[[int], int]) -> Life:
    held = tuple(sorted([(job, claims(execution)) for job, execution in life.held]))
    return Life(
        life.instance, epochs(life.epoch), claims(life.claim), life.is_leaving,
        life.is_alone and bool(held), held,
    )  # fmt: skip


def _renamed_job(job: Job, claims: _Names) -> Job:
    if job.state in ENDED:
        return Job(job.state, execution=claims.known(job.execution))
    return job._replace(execution=claims.known(job.execution)) if job.execution else job


def _renamed(
    instance: Instance, claims: _Names, epochs: Callable[[int], int], asked: set[int]
) -> Instance:
    return Instance(
        epochs(instance.epoch), instance.is_live, instance.has_retired,
        claims.known(instance.claim, UNKNOWN),
        instance.claimed if instance.claim in asked else (),
    )  # fmt: skip


def _renamed_call(call: Call, names: dict[str, _Names]) -> Call:
    if not call:
        return call
    arguments = list(call)
    for at, kind in _NAMED.get(str(call[0]), ()):
        arguments[at] = names[kind](arguments[at])
    if call[0] == "renew":
        _, instance, epoch, held = call
        claims = names["claim"]
        renewed = tuple(sorted((job, claims(each)) for job, each in held))
        return ("renew", instance, names["epoch"](epoch), renewed)
    return tuple(arguments)

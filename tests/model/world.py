"""All that may happen next: processes act, die and come back, time passes, calls come twice."""

from collections.abc import Iterator

from model.names import FRESH, canonical
from model.rules import put
from model.schedulers import ALWAYS, schedule
from model.scripts import Queue, Reply
from model.state import (
    ENDED,
    LAPSED,
    LIVE,
    Job,
    Lease,
    Redis,
    Scheduler,
    State,
    empty,
)
from model.steps import Kind, Setup, Step, remembered, told
from model.workers import begin, is_current, live


class World:
    """One setup under one version of the scripts."""

    def __init__(self, setup: Setup, queue: Queue) -> None:
        self.setup = setup
        self.queue = queue
        self._canonical: dict[State, State] = {}

    def fresh(self) -> int:
        """A name for a life, a claim or a term; `canonical` makes it small."""
        return FRESH

    def start(self) -> State:
        setup = self.setup
        redis = empty(setup.jobs, setup.instances)
        if not setup.admits:
            jobs = tuple(range(setup.jobs))
            redis = redis._replace(jobs=(Job(),) * setup.jobs, ingress=jobs, unended=setup.jobs)
        if not setup.schedulers:
            redis = redis._replace(leader=ALWAYS)
        return State(redis, (), (Scheduler(),) * setup.schedulers, max(setup.faults, 0))

    def call(self, state: State, *call: object) -> tuple[State, Reply]:
        """Run a script on the state; its signals are on their way."""
        name, *arguments = call
        redis, reply = getattr(self.queue, str(name))(state.redis, *arguments)
        if redis is state.redis:
            return state, reply
        schedulers = told(state.schedulers, redis.news)
        return state._replace(redis=redis._replace(news=()), schedulers=schedulers), reply

    def successors(self, state: State) -> Iterator[Step]:
        """Every next step that the faults left allow, to a state under its own names."""
        for step in self.steps(state):
            after = remembered(step.after, state.redis, self.setup.lost_writes)
            yield from self._paid(state, step, step.kind, after)
            if self.setup.repeats_late and step.call and not state.late:
                yield from self._paid(state, step, Kind.FAULT, after._replace(late=step.call))

    def _paid(self, state: State, step: Step, kind: Kind, after: State) -> Iterator[Step]:
        """The step, if it is no fault or one of those left."""
        redis = after.redis
        if kind is Kind.FAULT and self.setup.faults >= 0:
            if not state.faults_left:
                return
            after = after._replace(faults_left=state.faults_left - 1)
        known = self._canonical.get(after)
        if known is None:
            known = self._canonical[after] = canonical(after, self.setup.innocent)
        yield Step(step.label, kind, known, step.call, step.reply, redis)

    def steps(self, state: State) -> Iterator[Step]:
        yield from self._clients(state)
        yield from self._operators(state)
        yield from schedule(self, state)
        yield from begin(self, state)
        for at in range(len(state.lives)):
            yield from live(self, state, at)
        yield from self._time(state)
        if state.late:
            after, reply = self.call(state, *state.late)
            after = after._replace(late=())
            yield Step(f"late: {state.late}", Kind.FAIR, after, state.late, reply)
        yield from self._failovers(state)

    def _clients(self, state: State) -> Iterator[Step]:
        for number, job in enumerate(state.redis.jobs):
            if job is None:  # the next one: jobs are numbered as they are admitted
                after, reply = self.call(state, "admit", number)
                yield Step(f"admit {number}", Kind.OPERATOR, after, ("admit", number), reply)
                return
            if self.setup.cancels and job.state not in ENDED:
                after, reply = self.call(state, "cancel", number)
                yield Step(f"cancel {number}", Kind.OPERATOR, after, ("cancel", number), reply)

    def _operators(self, state: State) -> Iterator[Step]:
        """What is taken out is put back some time."""
        for number in range(self.setup.instances if self.setup.takes_out else 0):
            is_drained = number in state.redis.drained
            call = ("resume" if is_drained else "drain", number)
            after, reply = self.call(state, *call)
            if after != state:
                kind = Kind.FAIR if is_drained else Kind.OPERATOR
                yield Step(f"{call[0]} {number}", kind, after, call, reply)

    def _time(self, state: State) -> Iterator[Step]:
        """Leases run out: of the dead in time, of the living if they cannot renew."""
        redis = state.redis
        for number, record in enumerate(redis.instances):
            if record and record.is_live:
                lapsed = put(redis.instances, number, record._replace(is_live=False))
                has_owner = any(
                    life.instance == number and is_current(state, life) for life in state.lives
                )
                kind = Kind.FAULT if has_owner else Kind.FAIR
                after = state._replace(redis=redis._replace(instances=lapsed))
                yield Step(f"instance {number} runs out", kind, after)
        for at, lease in enumerate(redis.leases):
            cause = self._lease_runs_out(state, lease)
            if cause and lease.score == LIVE:
                leases = put(redis.leases, at, lease._replace(score=LAPSED))
                after = state._replace(redis=redis._replace(leases=leases))
                yield Step(f"lease of {lease.job} runs out", cause, after)
        if state.schedulers and redis.leader:
            is_held = any(each.token == redis.leader for each in state.schedulers)
            after = state._replace(redis=redis._replace(leader=0))
            yield Step("leadership runs out", Kind.FAULT if is_held else Kind.FAIR, after)

    def _lease_runs_out(self, state: State, lease: Lease) -> Kind | None:
        """One RENEW covers the instance and all leases its worker knows: none lapses before it.

        None if this one cannot run out now.
        """
        record = state.redis.instances[lease.instance]
        for life in state.lives:
            if not is_current(state, life) or life.instance != lease.instance:
                continue
            if lease.execution == life.claim:
                return Kind.FAULT
            if lease[:2] in life.held:
                return None if record and record.is_live else Kind.FAULT
        return Kind.FAIR

    def _failovers(self, state: State) -> Iterator[Step]:
        for lost, redis in enumerate(state.past, 1):
            after = state._replace(redis=redis, past=(), has_failed_over=True)
            yield Step(f"failover loses {lost} writes", Kind.FAULT, after)


def has_ended(redis: Redis) -> bool:
    """Whether every job that was admitted has ended."""
    return all(job is None or job.state in ENDED for job in redis.jobs)

"""The Lua scripts against the memory broker, over arbitrary sequences of calls.

Every call goes to both, and both must answer the same. Calls come from actors that may be
dead, deposed or late, may repeat themselves (a lost reply), and may never go on (a crash
between any two calls). After each, every admitted job is in exactly one place.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import cycle, product
from typing import Any, TypeVar, get_args

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from msgspec import Struct
from msgspec.structs import asdict, replace
from redis import Redis
from support import SMALL_BOUNDS, assignment, completed, record, redis_broker, submission

from preble.broker import Broker
from preble.broker.answers import Admitted
from preble.broker.keys import PoolKeys
from preble.broker.lists import JobPage, JobQuery
from preble.broker.memory import MemoryBroker
from preble.config import Priority
from preble.errors import PrebleError
from preble.messages import (
    QUARANTINE_AFTER,
    ClaimedJob,
    InstanceId,
    InstanceRecord,
    JobFailure,
    JobId,
    JobResult,
    JobState,
    JobView,
    LeaderToken,
    Lease,
    Outcome,
    WaitingJob,
    encode,
)

T = TypeVar("T")

NAMES = [f"job{number}" for number in range(12)]
QUEUES = st.tuples(st.sampled_from(get_args(Priority)), st.sampled_from(["a", "b"]))
"""One more than the brokers here take."""

POOL = "memory"
"""As the memory broker calls its own, so that queues have the same names in both."""

DEADLINES_S = st.sampled_from([None, None, 60.0, 0.0])
"""Those of 0 s come too late, wherever they are noticed first."""

PROMPT_BYTES = 40
"""Of each job here."""

ENDED_BYTES = 20_000
"""Of some jobs that have ended, so that the first of them are dropped."""

QUERIES = [
    JobQuery(state, tenant, limit=limit, is_newest_first=is_newest_first)
    for tenant, limit, is_newest_first, state in product(
        (None, "a", "b"), (2, 20), (True, False), (None, *JobState)
    )
]

LEASES_S = st.sampled_from([60.0, 60.0, 60.0, 0.0])
INSTANCE_NAMES = (InstanceId("gpu0"), InstanceId("gpu1"))
INSTANCES = st.sampled_from(INSTANCE_NAMES)


class QueueMachine(RuleBasedStateMachine):
    """Clients, schedulers and workers in any order."""

    redis_url: str

    @initialize(first_query=st.integers(0, len(QUERIES) - 1))
    def start(self, first_query: int) -> None:
        self.client = Redis.from_url(self.redis_url)
        self.client.flushall()
        self.runner = asyncio.Runner()
        bounds = replace(
            SMALL_BOUNDS, max_tenant_jobs=7, max_dead_letter_bytes=2 * PROMPT_BYTES,
            max_ended_bytes=ENDED_BYTES,
        )  # fmt: skip
        self.redis = redis_broker(self.redis_url, POOL, bounds)
        self.memory = MemoryBroker(**asdict(bounds), max_attempts=3)
        self.tokens: list[LeaderToken] = [LeaderToken("0-nobody")]
        self.lives: list[InstanceRecord] = []
        self.leases: list[tuple[InstanceRecord, Lease]] = []
        self.waiting: list[WaitingJob] = []
        self.results: dict[JobId, JobResult | None] = {}
        self.ended: set[JobId] = set()
        self.claims = 0
        self.queries = cycle(QUERIES[first_query:] + QUERIES[:first_query])
        self.lead("one", 60.0)
        self.register("gpu0", "e1", 60.0)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.redis.close())
            self.runner.close()
            self.client.close()

    def both(self, call: Callable[[Broker], Awaitable[T]]) -> T | None:
        """Make a call on both brokers: same answer, or the same error. None for an error."""
        answers = [self.runner.run(_answer(call, broker)) for broker in (self.memory, self.redis)]
        assert answers[0] == answers[1]
        return None if isinstance(answers[0], Failure) else answers[0]

    @rule(
        jobs=st.dictionaries(st.sampled_from(NAMES), QUEUES, min_size=1, max_size=3),
        deadline_s=DEADLINES_S,
        fingerprint=st.sampled_from(["", "", "x"]),
    )
    def admit(
        self, jobs: dict[str, tuple[Priority, str]], deadline_s: float | None = None,
        fingerprint: str = "",
    ) -> None:  # fmt: skip
        """Also under other queues than before, which changes nothing, and by other requests."""
        batch = [
            submission(
                name,
                priority=priority,
                tenant=tenant,
                deadline_s=deadline_s,
                fingerprint=fingerprint,
            )
            for name, (priority, tenant) in jobs.items()
        ]

        async def call(broker: Broker) -> list[str]:
            return [_told(outcome) for outcome in await broker.admit([batch])]

        if self.both(call) == [""]:
            for name in jobs:
                self.results.setdefault(JobId(name), None)

    @rule(data=st.data())
    def disturb(self, data: st.DataObject) -> None:
        """What ends terms and lives: rarer than work, or nothing would ever get far."""
        match data.draw(st.sampled_from(["depose", "resign", "retire", "new life", "stale life"])):
            case "depose":
                self.lead("one", 0.0)
                self.lead("two", 60.0)
            case "resign":
                token = mostly_last(data, self.tokens)
                self.both(lambda broker: broker.resign(token))
                self.lead("two", 60.0)
            case "retire":
                life = mostly_last(data, self.lives)
                self.both(lambda broker: broker.retire(life))
            case "new life":
                epoch = f"e{len(self.lives)}"
                self.register(data.draw(INSTANCES), epoch, data.draw(LEASES_S))
            case _:
                life = data.draw(st.sampled_from(self.lives))
                self.register(life.instance_id, life.epoch, 60.0)

    @rule(data=st.data(), is_resumed=st.sampled_from([True, True, False]))
    def take_out(self, data: st.DataObject, is_resumed: bool) -> None:  # noqa: FBT001
        """One instance is drained, or those that are get jobs again."""
        instance = data.draw(INSTANCES)
        self.both(lambda broker: broker.roster.drain(instance))
        for name in INSTANCE_NAMES if is_resumed else ():
            self.both(partial(_resume, name))

        async def call(broker: Broker) -> list[tuple[str, bool, int, int]]:
            return [
                (each.instance_id, each.drained_at_s is not None, each.assigned, each.running)
                for each in await broker.roster.views()
            ]

        self.both(call)

    def lead(self, holder: str, ttl_s: float) -> None:
        if token := self.both(lambda broker: broker.lead(holder, ttl_s=ttl_s or 0.001)):
            self.tokens.append(token)
        if not ttl_s:
            self.runner.run(asyncio.sleep(0.003))  # Redis expires by its own clock

    @rule(
        data=st.data(),
        jobs=st.dictionaries(st.sampled_from(NAMES), QUEUES, min_size=1, max_size=3),
        lease_s=LEASES_S,
    )
    def run_some(
        self, data: st.DataObject, jobs: dict[str, tuple[Priority, str]], lease_s: float
    ) -> None:
        """The whole way at once, so that most sequences have jobs in every state."""
        self.admit(jobs)
        self.lead("two", 60.0)
        life = mostly_last(data, self.lives)
        self.register(life.instance_id, life.epoch, 60.0)
        self.peek(6, 6)
        self.route(data)
        self.claim(data, 4, 0, lease_s, is_repeated=False)

    @rule(data=st.data())
    def route(self, data: st.DataObject) -> None:
        """Also what was seen long ago, as a late or repeating scheduler does."""
        instance = mostly_last(data, self.lives).instance_id
        token = mostly_last(data, self.tokens)
        decided = [(job.ingress, assignment(job, instance)) for job in self.waiting]
        if decided:
            self.both(lambda broker: broker.route(token, decided))

    @rule(window=st.integers(1, 3), batch_window=st.integers(1, 3))
    def peek(self, window: int, batch_window: int) -> None:
        async def call(broker: Broker) -> list[WaitingJob]:
            waiting = await broker.peek(window, batch_window_jobs=batch_window)
            return [replace(job, waited_s=0) for job in waiting]

        self.waiting = self.both(call) or []

    def register(self, instance: str, epoch: str, lease_s: float) -> None:
        life = record(instance, epoch)
        self.both(lambda broker: broker.register(life, lease_s=lease_s))
        self.lives.append(life)

    @rule(
        data=st.data(), jobs=st.integers(1, 4), num_held=st.integers(0, 1), lease_s=LEASES_S,
        is_repeated=st.booleans(),
    )  # fmt: skip
    def claim(
        self, data: st.DataObject, jobs: int, num_held: int, lease_s: float,
        is_repeated: bool,  # noqa: FBT001
    ) -> None:  # fmt: skip
        life = mostly_last(data, self.lives)
        self.claims += not is_repeated
        number = max(1, self.claims)

        async def call(broker: Broker) -> list[ClaimedJob]:
            claimed = await broker.claim(
                life, number=number, jobs=jobs, tokens=1_000, num_held=num_held, lease_s=lease_s
            )
            return [replace(job, waited_s=0.0) for job in claimed]  # each by its own clock

        for job in self.both(call) or []:
            self.leases.append((life, job.lease))

    @rule(data=st.data(), text=st.sampled_from(["x", "y"]))
    def finish(self, data: st.DataObject, text: str) -> None:
        if self.leases:
            life, lease = mostly_last(data, self.leases)
            self.both(lambda broker: broker.finish(life, [completed(lease, text)]))

    @rule(data=st.data(), lease_s=LEASES_S)
    def renew(self, data: st.DataObject, lease_s: float) -> None:
        life = mostly_last(data, self.lives)
        leases = [lease for owner, lease in self.leases if owner == life]
        self.both(lambda broker: broker.renew(life, leases, lease_s=lease_s))

    @rule(data=st.data(), is_attempt=st.booleans())
    def release(self, data: st.DataObject, is_attempt: bool) -> None:  # noqa: FBT001
        if self.leases:
            life, lease = mostly_last(data, self.leases)
            self.both(lambda broker: broker.release(life, [lease], is_attempt=is_attempt))

    @rule(data=st.data())
    def reap(self, data: st.DataObject) -> None:
        token = mostly_last(data, self.tokens)

        async def call(broker: Broker) -> tuple[list[str], ...]:
            reaped = await broker.reap(token, limit=100)
            kinds = (reaped.requeued, reaped.failed, reaped.expired, reaped.gone)
            return tuple(sorted(kind) for kind in kinds)

        if self.both(call) is not None:
            stats = self.both(lambda broker: broker.counts.stats())
            assert stats
            assert stats.ended_bytes <= ENDED_BYTES

    @rule(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=2))
    def cancel(self, names: list[str]) -> None:
        """Also what is unknown, or has ended."""
        self.both(lambda broker: broker.cancel([JobId(name) for name in names]))

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        """Also what is unknown, or did not fail."""
        failed = [name for name in NAMES if self.state_of(name) is JobState.FAILED]
        names = data.draw(st.lists(st.sampled_from(failed * 3 + NAMES), min_size=1, max_size=3))

        async def call(broker: Broker) -> list[str]:
            return [str(reply) for reply in await broker.retry([JobId(name) for name in names])]

        self.both(call)

    def state_of(self, name: str) -> JobState | None:
        view = self.runner.run(self.memory.view(JobId(name)))
        return view.state if view else None

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        if self.leases:
            life, lease = mostly_last(data, self.leases)
            outcome = Outcome(lease, failure=JobFailure("broken", "x"))
            self.both(lambda broker: broker.finish(life, [outcome]))

    @rule(
        data=st.data(),
        jobs=st.dictionaries(st.sampled_from(NAMES), QUEUES, min_size=1, max_size=3),
    )
    def fail_some(self, data: st.DataObject, jobs: dict[str, tuple[Priority, str]]) -> None:
        """The whole way to a dead letter, so that there are some to retry."""
        self.run_some(data, jobs, 60.0)
        self.fail(data)

    @invariant()
    def every_job_is_in_one_place_and_keeps_its_result(self) -> None:
        if not hasattr(self, "runner"):
            return
        found = [self.check_job(job_id) for job_id in list(self.results)]
        views = [view for view in found if view]
        self.check_ingresses(views)
        self.check_lists(views)
        states = [view.state for view in views]
        stats = self.both(lambda broker: broker.counts.stats())
        assert stats
        assert stats.waiting == states.count(JobState.WAITING)
        assert stats.assigned == states.count(JobState.ASSIGNED)
        assert stats.running == states.count(JobState.RUNNING)
        unfinished = [encode(view.spec) for view in views if not view.state.is_terminal]
        assert stats.prompt_bytes == sum(PROMPT_BYTES + len(spec) for spec in unfinished)
        assert stats.dead_letter_bytes <= 2 * PROMPT_BYTES
        self.check_ended(stats.ended_bytes)

    def check_ended(self, counted_bytes: int) -> None:
        """What ended is there, and no more; each counts what is remembered with it."""
        listed: Any = self.client.zrange(PoolKeys(POOL)("ended"), 0, -1)
        entries = [entry.decode().split(":") for entry in listed]
        assert {JobId(job) for _, _, job, _, _ in entries} == self.ended
        assert sum(int(counted) for _, counted, _, _, _ in entries) == counted_bytes

    def check_ingresses(self, views: list[JobView]) -> None:
        """Ours and RQ's are those in which a job waits, no more and no fewer."""
        keys = PoolKeys(POOL)
        waiting = {
            (
                keys.quarantine_queue
                if view.attempt >= QUARANTINE_AFTER
                else keys.ingress_queue(view.spec.priority, view.spec.tenant)
            ).encode()
            for view in views
            if view.state is JobState.WAITING
        }
        assert self.client.smembers(keys("ingresses")) == waiting
        known_to_rq = self.client.smembers(keys("queues"))
        ours = {b"rq:queue:" + queue for queue in waiting}
        others = {b"rq:queue:memory.instance.gpu0", b"rq:queue:memory.instance.gpu1"}
        assert ours <= known_to_rq <= ours | others

    def check_lists(self, views: list[JobView]) -> None:
        """Pages show what a look at every job would, in the order of admission."""
        query = next(self.queries)
        listed = list[JobView]()
        while True:
            page = self.both(partial(_timeless_page, query=query))
            assert page
            listed += page.jobs
            if page.after is None:
                break
            query = replace(query, after=page.after)
        wanted = [
            replace(view, position=None, assignment=None, result=None)
            for view in (reversed(views) if query.is_newest_first else views)
            if query.state in {None, view.state} and query.tenant in {None, view.spec.tenant}
        ]
        assert listed == wanted

    def check_job(self, job_id: JobId) -> JobView | None:
        """None if it had ended and was dropped."""
        view = self.both(lambda broker: _timeless(broker, job_id))
        if view is None:
            assert job_id in self.ended, f"{job_id} was accepted and is lost"
            self.ended.remove(job_id)
            del self.results[job_id]
            return None
        (self.ended.add if view.state.is_terminal else self.ended.discard)(job_id)
        known = self.results[job_id]
        assert known is None or view.result == known, f"{job_id} got a second result"
        self.results[job_id] = view.result
        return view


async def _resume(instance_id: InstanceId, broker: Broker) -> None:
    await broker.roster.resume(instance_id)


def mostly_last(data: st.DataObject, items: Sequence[T]) -> T:
    """The newest, three times in four; else any: the dead and the late must have their say."""
    chosen: T = data.draw(st.sampled_from([items[-1]] * 3 * len(items) + list(items)))
    return chosen


class Failure(Struct, frozen=True):
    """An error that a call raised, comparable."""

    name: str


async def _answer(call: Callable[[Broker], Awaitable[T]], broker: Broker) -> T | Failure:
    try:
        return await call(broker)
    except PrebleError as error:
        return Failure(type(error).__name__)


def _told(admitted: Admitted) -> str:
    return str(admitted) if isinstance(admitted, Exception) else ""


async def _timeless(broker: Broker, job_id: JobId) -> JobView | None:
    view = await broker.view(job_id)
    return view and _without_times(view)


async def _timeless_page(broker: Broker, query: JobQuery) -> JobPage:
    page = await broker.list_jobs(query)
    return replace(page, jobs=tuple(_without_times(job) for job in page.jobs))


def _without_times(view: JobView) -> JobView:
    return replace(
        view, submitted_at_s=0, deadline_at_s=None, assigned_at_s=None, started_at_s=None,
        ended_at_s=None,
    )  # fmt: skip


def test_scripts_and_reference_agree_and_lose_nothing(redis_url: str) -> None:
    QueueMachine.redis_url = redis_url
    run_state_machine_as_test(
        QueueMachine,
        settings=settings(
            max_examples=80, stateful_step_count=50, deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            phases=[Phase.generate],  # to shrink an example takes Redis several minutes

        ),
    )  # fmt: skip

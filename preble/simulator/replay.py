"""A workload replayed on virtual time: the production Scheduler before simulated engines.

    arrivals ──▶ Ingress ──▶ Scheduler ──▶ SimulatedInstance.submit ──┐
                     ▲           ▲                                    ▼
                     │           └── block events, ends ◀── InstanceModel.advance
                     │               after `event_delay_s`            │
                     └── what was in an engine that died ◀────────────┘
                         after `detect_s`

A heap holds what is due. Of what is due at the same time, first instances change, then the
scheduler hears, then requests arrive, then engines go on: so requests that arrive together are
there when the next step is planned. Nothing depends on chance or on the order of a hash: the same
workload and settings give the same decisions in every process.

Requests wait in an ingress queue until the scheduler assigns them. It is asked once for all that
came into a window or was heard at one time; with late binding it leaves waiting what no instance
has credit for.
"""

from collections.abc import Callable
from enum import IntEnum
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf

from msgspec import UNSET
from msgspec.structs import replace

from preble.errors import InvariantError
from preble.messages import Assignment, EventBatch, JobEnded, JobId
from preble.policy import create_policy
from preble.scheduler import Scheduler
from preble.simulator.changes import Change, first_instances
from preble.simulator.ingress import Ingress
from preble.simulator.outcome import PoolSettings, Replayed, Served
from preble.simulator.run import Run
from preble.simulator.simulated_instance import index_of, instance_id, simulated_instances
from preble.simulator.timeline import Timeline
from preble.simulator.workload.request import Workload


def replay(
    workload: Workload, settings: PoolSettings, *, timeline_s: float | None = None, skip: int = 0
) -> Replayed:
    """Run a workload through a pool.

    Args:
        workload: Any; it may be empty.
        settings: Of the pool.
        timeline_s: Seconds between the samples of the timeline; None for no timeline.
        skip: How many requests, the first, are warm-up: what instances are busy with until the
            next one arrives is not measured.

    Raises:
        ConfigError: If a request can never fit an instance, the cost model is unknown, or the
            changes of the pool make no sense.
        InvariantError: If a request was lost, or its tokens do not add up: a bug.

    Cost: some 20 µs for each step with prefill and for each stretch of decode steps, and what
    the scheduler takes for each request; with late binding, for each plan.
    """
    return _Replay(workload, settings, timeline_s, skip).run()


class _Rank(IntEnum):
    """Of what is due at one time, the lower comes first."""

    CHANGE = 0
    MESSAGE = 1
    ARRIVAL = 2
    ENGINE = 3


class _Replay:
    def __init__(
        self, workload: Workload, settings: PoolSettings, timeline_s: float | None, skip: int
    ) -> None:
        self._requests = workload.requests
        self._settings = settings
        self._skip = skip
        self._now_s = 0.0
        self._due: list[tuple[float, int, int, Callable[[], object]]] = []
        self._serials = count()
        self._scheduler = Scheduler(
            create_policy(settings.policy),
            block_size=workload.block_size,
            history_s=settings.history_s,
        )
        self._instances = simulated_instances(settings, workload.block_size)
        self._expected_end_s = [inf] * len(self._instances)
        self._ingress = Ingress(settings, max_new_tokens=_longest_output(workload))
        self._has_news = False
        self._assignments: dict[int, Assignment] = {}
        self._served: dict[int, Served] = {}
        self._timeline = Timeline(self._instances, timeline_s)

    def run(self) -> Replayed:
        self._begin()
        while self._due:
            at_s, _, _, action = heappop(self._due)
            if at_s < self._now_s:
                msg = f"time would go back from {self._now_s} to {at_s} s"
                raise InvariantError(msg)
            self._timeline.sample_until(at_s)
            self._now_s = at_s
            action()
            if self._has_news and not self._is_more_to_hear():
                self._has_news = False
                self._assign()
        self._check()
        served = tuple(self._served[number] for number in range(len(self._requests)))
        totals = tuple(instance.totals() for instance in self._instances)
        return Replayed(served, totals, tuple(self._timeline.samples))

    def _begin(self) -> None:
        changes = self._settings.changes
        for request in self._requests:
            self._settings.engine.check_fits(request)
        for index in first_instances(changes, len(self._instances)):
            self._join(index)
        for change in changes:
            self._at(change.at_s, _Rank.CHANGE, partial(self._change, change))
        self._expect_arrival(0)

    def _at(self, at_s: float, rank: _Rank, action: Callable[[], object]) -> None:
        heappush(self._due, (at_s, rank, next(self._serials), action))

    # Requests come.

    def _expect_arrival(self, number: int) -> None:
        if number < len(self._requests):
            action = partial(self._arrive, number)
            self._at(self._requests[number].at_s, _Rank.ARRIVAL, action)

    def _arrive(self, number: int) -> None:
        if number == self._skip:
            for instance in self._instances:
                instance.end_warm_up(self._now_s)
        if self._ingress.add(number, self._requests[number]):
            self._has_news = True
        self._expect_arrival(number + 1)

    def _is_more_to_hear(self) -> bool:
        """Whether anything else comes before engines go on at this time."""
        due = self._due
        return bool(due) and due[0][0] == self._now_s and due[0][1] < _Rank.ENGINE

    def _assign(self) -> None:
        """Assign what waits, or as much of it as the instances have credit for."""
        if self._ingress:
            late = self._settings.binding == "late"
            for assignment in self._planned() if late else self._assigned():
                self._submit(assignment)

    def _planned(self) -> list[Assignment]:
        credit_s = self._settings.credit_s
        if not self._scheduler.has_credit(credit_s, now_s=self._now_s):
            return []
        jobs = self._ingress.windows(self._now_s)
        return self._scheduler.plan(jobs, credit_s=credit_s, now_s=self._now_s)

    def _assigned(self) -> list[Assignment]:
        decided = (self._scheduler.assign(job, now_s=self._now_s) for job in self._ingress)
        return [assignment for assignment in decided if assignment]

    def _submit(self, assignment: Assignment) -> None:
        number = int(assignment.job_id)
        request = self._requests[number]
        self._ingress.remove(number, request)
        self._assignments[number] = assignment
        index = index_of(assignment.instance_id)
        run = Run(number, request)
        self._instances[index].submit(run, self._now_s)
        self._follow(index)

    # Engines go on, and the scheduler hears of it.

    def _follow(self, index: int) -> None:
        """Go on with an engine when its stretch ends, wherever that end is now."""
        engine = self._instances[index].engine
        end_s = engine.end_s if engine else inf
        if end_s not in {self._expected_end_s[index], inf}:
            self._at(end_s, _Rank.ENGINE, partial(self._go_on, index))
        self._expected_end_s[index] = end_s

    def _go_on(self, index: int) -> None:
        instance = self._instances[index]
        engine = instance.engine
        if engine is None or engine.end_s != self._now_s:
            return  # it died, or its stretch was cut short meanwhile
        ended = engine.advance()
        if events := engine.take_events():
            self._tell(partial(self._hear_events, instance.batch_of(events)))
        for run in ended:
            self._tell_end(index, run)
        self._follow(index)

    def _tell_end(self, index: int, run: Run) -> None:
        if run.number in self._served:
            msg = f"request {run.number} ended twice"
            raise InvariantError(msg)
        assignment = self._assignments.pop(run.number)
        served = self._served[run.number] = _served(run, index, assignment)
        decode_s = served.ended_at_s - served.first_token_at_s
        end = JobEnded(
            assignment.job_id, assignment.instance_id, run.request.output_tokens, decode_s
        )
        self._tell(partial(self._hear_end, end))

    def _tell(self, hear: Callable[[], object]) -> None:
        self._at(self._now_s + self._settings.event_delay_s, _Rank.MESSAGE, hear)

    def _hear_events(self, batch: EventBatch) -> None:
        self._scheduler.fold(batch)
        self._has_news = True

    def _hear_end(self, end: JobEnded) -> None:
        self._scheduler.ended(end, now_s=self._now_s)
        self._has_news = True

    # Instances change.

    def _change(self, change: Change) -> None:
        index, instance = change.instance, self._instances[change.instance]
        match change.kind:
            case "slow":
                instance.slow_down(change.factor, self._now_s)
            case "join":
                self._join(index)
            case "die":
                lost = instance.end_life(self._now_s)
                notice = partial(self._notice, index, instance.lives, lost)
                self._at(self._now_s + self._settings.detect_s, _Rank.MESSAGE, notice)
        self._follow(index)

    def _join(self, index: int) -> None:
        instance = self._instances[index]
        instance.begin_life(self._now_s)
        record, believed = instance.record, self._settings.believed_cost_model
        self._scheduler.join(record if believed is UNSET else replace(record, cost_model=believed))
        self._has_news = True

    def _notice(self, index: int, life: int, lost: list[Run]) -> None:
        """The lease of a dead life has ended: its requests wait again, as they came.

        If the next life has begun, the scheduler has heard of the instance anew and knows only
        that these requests are not there.
        """
        instance = self._instances[index]
        if instance.engine or instance.lives != life:
            for run in lost:
                self._scheduler.forget(JobId(str(run.number)))
        else:
            self._scheduler.leave(instance_id(index))
            lost = [*lost, *instance.take_queue()]
        for run in sorted(lost, key=lambda run: run.number, reverse=True):
            self._ingress.put_back(run.number, run.request)
        self._has_news = True

    def _check(self) -> None:
        """That no request and no token was lost. Raises: InvariantError."""
        missing = len(self._requests) - len(self._served)
        asked = sum(served.prefilled_tokens for served in self._served.values())
        totals = [instance.totals() for instance in self._instances]
        computed = sum(each.prefilled_tokens - each.lost_tokens for each in totals)
        if missing or asked != computed:
            msg = f"{missing} requests lost; {computed} tokens computed instead of {asked}"
            raise InvariantError(msg)


def _longest_output(workload: Workload) -> int:
    """What a client sets who does not know its outputs: no policy may know them either."""
    return max((request.output_tokens for request in workload.requests), default=1)


def _served(run: Run, index: int, assignment: Assignment) -> Served:
    return Served(
        request=run.request,
        instance=index,
        admitted_at_s=run.admitted_at_s,
        first_token_at_s=run.first_token_at_s,
        ended_at_s=run.ended_at_s,
        available_hit_tokens=assignment.available_hit_tokens,
        predicted_hit_tokens=assignment.predicted_hit_tokens,
        hit_tokens=run.hit_tokens,
        recomputed_tokens=run.recomputed_tokens,
    )

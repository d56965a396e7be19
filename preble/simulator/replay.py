"""A workload replayed on virtual time: the production Scheduler before simulated engines.

    arrivals ──▶ Scheduler.assign ──▶ InstanceModel.submit ─┐
                     ▲                                      ▼
                     └── block events, ends ◀── InstanceModel.advance
                         after `event_delay_s`

A heap holds what is due. Of what is due at the same time, first the scheduler hears, then
requests arrive, then engines go on: so requests that arrive together are there when the next
step is planned. Nothing depends on chance or on the order of a hash: the same workload and
settings give the same decisions in every process.

Requests wait in an ingress queue until the scheduler assigns them. It is asked whenever a
request has come or a message was heard; with late binding it leaves waiting what no instance
has credit for.
"""

from collections.abc import Callable
from enum import IntEnum
from functools import partial
from heapq import heappop, heappush
from itertools import count, islice
from typing import Final

from preble.cost_model import load_cost_model
from preble.errors import InvariantError
from preble.messages import (
    Assignment,
    BlockEvent,
    EventBatch,
    InstanceId,
    InstanceRecord,
    JobEnded,
    JobId,
    JobSpec,
    SamplingParams,
    WaitingJob,
    unpack_keys,
)
from preble.policy import create_policy
from preble.scheduler import Scheduler
from preble.simulator.instance_model import InstanceModel
from preble.simulator.outcome import (
    InstanceTotals,
    PoolSettings,
    Replayed,
    Served,
    TimelineSample,
)
from preble.simulator.run import Run
from preble.simulator.workload.request import Workload

_NAME: Final = "simulated"


def replay(
    workload: Workload, settings: PoolSettings, *, timeline_s: float | None = None
) -> Replayed:
    """Run a workload through a pool.

    Args:
        workload: Any; it may be empty.
        settings: Of the pool.
        timeline_s: Seconds between the samples of the timeline; None for no timeline.

    Raises:
        ConfigError: If a request can never fit an instance, or the cost model is unknown.
        InvariantError: If a request was lost, or its tokens do not add up: a bug.

    Cost: some 20 µs for each step with prefill and for each stretch of decode steps, and what
    the scheduler takes for each request.
    """
    return _Replay(workload, settings, timeline_s).run()


class _Rank(IntEnum):
    """Of what is due at one time, the lower comes first."""

    MESSAGE = 0
    ARRIVAL = 1
    ENGINE = 2


class _Replay:
    def __init__(
        self, workload: Workload, settings: PoolSettings, timeline_s: float | None
    ) -> None:
        self._requests = workload.requests
        self._now_s = 0.0
        self._due: list[tuple[float, int, int, Callable[[], object]]] = []
        self._serials = count()
        self._scheduler = Scheduler(
            create_policy(settings.policy),
            block_size=workload.block_size,
            history_s=settings.history_s,
        )
        self._engines = _engines(settings, workload.block_size)
        self._records = _records(settings)
        self._event_seqs = [0] * len(self._engines)
        self._sampling = SamplingParams(max_new_tokens=_longest_output(workload))
        self._settings = settings
        self._ingress: dict[JobId, WaitingJob] = {}
        self._assignments: dict[int, Assignment] = {}
        self._served: dict[int, Served] = {}
        self._timeline = _Timeline(self._engines, timeline_s)

    def run(self) -> Replayed:
        for request in self._requests:
            self._engines[0].check_fits(request)
        for record in self._records:
            self._scheduler.join(record)
        self._expect_arrival(0)
        while self._due:
            at_s, _, _, action = heappop(self._due)
            if at_s < self._now_s:
                msg = f"time would go back from {self._now_s} to {at_s} s"
                raise InvariantError(msg)
            self._timeline.sample_until(at_s)
            self._now_s = at_s
            action()
        self._check()
        served = tuple(self._served[number] for number in range(len(self._requests)))
        instances = tuple(_totals(engine) for engine in self._engines)
        return Replayed(served, instances, tuple(self._timeline.samples))

    def _at(self, at_s: float, rank: _Rank, action: Callable[[], object]) -> None:
        heappush(self._due, (at_s, rank, next(self._serials), action))

    # Requests come.

    def _expect_arrival(self, number: int) -> None:
        if number < len(self._requests):
            action = partial(self._arrive, number)
            self._at(self._requests[number].at_s, _Rank.ARRIVAL, action)

    def _arrive(self, number: int) -> None:
        request = self._requests[number]
        spec = JobSpec(request.prompt_tokens, self._sampling)
        job = WaitingJob(JobId(str(number)), _NAME, spec, request.block_keys)
        self._ingress[job.job_id] = job
        self._assign()
        self._expect_arrival(number + 1)

    def _assign(self) -> None:
        """Assign what waits, or as much of it as the instances have credit for."""
        waiting = islice(self._ingress.values(), self._settings.window_jobs)
        if self._settings.binding == "late":
            if not self._ingress:
                return
            planned = self._scheduler.plan(
                list(waiting), credit_s=self._settings.credit_s, now_s=self._now_s
            )
        else:
            decided = (self._scheduler.assign(job, now_s=self._now_s) for job in waiting)
            planned = [assignment for assignment in decided if assignment]
        for assignment in planned:
            del self._ingress[assignment.job_id]
            self._submit(assignment)

    def _submit(self, assignment: Assignment) -> None:
        number = int(assignment.job_id)
        self._assignments[number] = assignment
        request = self._requests[number]
        index = _index_of(assignment.instance_id)
        engine = self._engines[index]
        expected_s = engine.end_s
        engine.submit(Run(number, request, unpack_keys(request.block_keys)), self._now_s)
        if engine.end_s != expected_s:
            self._expect_end(index)

    # Engines go on, and the scheduler hears of it.

    def _expect_end(self, index: int) -> None:
        end_s = self._engines[index].end_s
        self._at(end_s, _Rank.ENGINE, partial(self._go_on, index))

    def _go_on(self, index: int) -> None:
        engine = self._engines[index]
        if engine.end_s != self._now_s:
            return  # its stretch was cut short meanwhile
        ended = engine.advance()
        if events := engine.take_events():
            self._tell_events(index, events)
        for run in ended:
            self._tell_end(index, run)
        if not engine.is_idle:
            self._expect_end(index)

    def _tell_events(self, index: int, events: tuple[BlockEvent, ...]) -> None:
        self._event_seqs[index] += 1
        record = self._records[index]
        batch = EventBatch(record.instance_id, record.epoch, self._event_seqs[index], events)
        self._tell(partial(self._hear_events, batch))

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
        self._assign()

    def _hear_end(self, end: JobEnded) -> None:
        self._scheduler.ended(end, now_s=self._now_s)
        self._assign()

    def _check(self) -> None:
        """That no request and no token was lost. Raises: InvariantError."""
        lost = len(self._requests) - len(self._served)
        asked = sum(
            served.request.prompt_tokens - served.hit_tokens + served.recomputed_tokens
            for served in self._served.values()
        )
        computed = sum(engine.prefilled_tokens for engine in self._engines)
        if lost or asked != computed:
            msg = f"{lost} requests lost; {computed} tokens computed instead of {asked}"
            raise InvariantError(msg)


class _Timeline:
    """Looks at the engines in regular intervals, if at all."""

    def __init__(self, engines: list[InstanceModel], interval_s: float | None) -> None:
        self.samples: list[TimelineSample] = []
        self._engines = engines
        self._interval_s = interval_s

    def sample_until(self, at_s: float) -> None:
        """Take the samples that were due before; nothing has changed since the last."""
        while self._interval_s and len(self.samples) * self._interval_s < at_s:
            waiting = tuple(engine.num_waiting for engine in self._engines)
            running = tuple(engine.num_running for engine in self._engines)
            due_s = len(self.samples) * self._interval_s
            self.samples.append(TimelineSample(due_s, waiting, running))


def _engines(settings: PoolSettings, block_size: int) -> list[InstanceModel]:
    cost_model = load_cost_model(settings.engine.cost_model)
    return [
        InstanceModel(settings.engine, cost_model, block_size=block_size, speed=speed)
        for speed in settings.speeds
    ]


def _records(settings: PoolSettings) -> list[InstanceRecord]:
    engine = settings.engine
    return [
        InstanceRecord(
            _instance_id(index), _NAME, _NAME, slots=engine.slots,
            kv_capacity_tokens=engine.kv_capacity_tokens, cost_model=engine.cost_model,
        )
        for index in range(len(settings.speeds))
    ]  # fmt: skip


def _instance_id(index: int) -> InstanceId:
    """In the order of the numbers, for a thousand instances."""
    return InstanceId(f"gpu{index:03}")


def _index_of(instance_id: InstanceId) -> int:
    return int(instance_id.removeprefix("gpu"))


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


def _totals(engine: InstanceModel) -> InstanceTotals:
    return InstanceTotals(
        busy_s=engine.busy_s,
        prefilled_tokens=engine.prefilled_tokens,
        evicted_blocks=engine.kv.evicted_blocks,
        retractions=engine.retractions,
    )

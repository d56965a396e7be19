"""One life of a worker: claims jobs for its instance, runs them in the engine, finishes them.

    claim ─▶ waiting room ─▶ one task for each job: engine.generate ─▶ outcomes ─▶ finish
      ▲            ▲                                           │
      └────────────┴──── a slot and its KV memory are free ◀───┘      renew, beside all that

A life registers under a new epoch. It ends when it has drained; when the engine died, hung or
lost track of its events, and then its jobs are handed back; or when the broker fences it:
because it was silent past its lease (stopped, cut off), or because another worker took the
instance over. What it ran is then cancelled, for its results would be refused.
"""

import asyncio
import contextlib
import logging
from enum import Enum
from typing import Final

from preble.broker import Broker
from preble.broker.insisting import insist
from preble.clock import Clock
from preble.config import Settings
from preble.errors import BrokerUnavailable, EngineUnavailable, EventsLost
from preble.logs import log_context
from preble.messages import ClaimedJob, InstanceRecord, Ring
from preble.tokenizer import Tokenizer
from preble_workers.engine import Engine, EngineInfo
from preble_workers.hit_predictor import Forecast, HitPredictor
from preble_workers.job_runner import JobRunner
from preble_workers.kv_budget import KvBudget
from preble_workers.leases import Leases
from preble_workers.prefix_publisher import PrefixPublisher
from preble_workers.pulse import Pulse
from preble_workers.recorder import Recorder
from preble_workers.token_publisher import TokenPublisher
from preble_workers.waiting_room import WaitingJob, WaitingRoom

LISTEN_S: Final = 2.0
DRAIN_S: Final = 5.0

_log = logging.getLogger(__name__)


class Ending(Enum):
    """Why a life ended; each asks for something else before the next."""

    DRAINED = "it was told to drain"
    ENGINE_LOST = "the engine died or cannot be reached"
    ENGINE_HUNG = "the engine makes no progress"
    EVENTS_LOST = "KV cache events were missed"


class Life:
    """One epoch of an instance, from registration until it is drained or fenced.

    It holds leases of at most `slots + wait_jobs` jobs, and as many more tokens than fit the
    KV memory as `wait_jobs` is to `slots`.
    """

    def __init__(
        self, broker: Broker, engine: Engine, info: EngineInfo, record: InstanceRecord,
        publisher: PrefixPublisher, predictor: HitPredictor, tokenizer: Tokenizer, clock: Clock,
        settings: Settings, recorder: Recorder,
    ) -> None:  # fmt: skip
        self._record = record
        self._broker = broker
        self._engine = engine
        self._publisher = publisher
        self._predictor = predictor
        self._metrics = recorder.metrics
        self._recorder = recorder
        self._lease_s = settings.lease_s
        self._tokens = TokenPublisher(broker.streams, tokenizer.decode)
        self._runner = JobRunner(
            engine, predictor, tokenizer, clock, max_run_s=settings.max_run_s, tokens=self._tokens
        )
        self._room = WaitingRoom(settings.wait_order, predictor)
        self._leases = Leases(broker, record, self._room, self._metrics, lease_s=self._lease_s)
        self._wait_jobs = settings.wait_jobs
        self._wait_tokens = info.kv_capacity_tokens * settings.wait_jobs // info.slots
        self._slots = self._free_slots = info.slots
        self._kv = KvBudget(info.kv_capacity_tokens, info.page_size)
        self._claiming = asyncio.Lock()
        self._claims = 0
        self._is_alone = False
        """Whether what was claimed last must run alone."""
        self._wake = asyncio.Event()
        self._ending: Ending | None = None
        self._has_begun = False
        self._pulse = Pulse(engine, clock, stall_s=settings.engine_stall_s)

    @property
    def num_held(self) -> int:
        """Jobs whose end the broker has neither accepted nor refused."""
        return self._leases.num_held

    @property
    def _num_engaged(self) -> int:
        """Jobs held, or still being stopped: beside them none of the quarantine may run."""
        return max(len(self._leases.running), self._slots - self._free_slots) + len(self._room)

    async def run(self, draining: asyncio.Event) -> Ending:
        """Work until `draining` is set or the engine fails; then end what runs, and leave.

        A drain lets running jobs end within the grace time. What has not ended is handed
        back, and the instance leaves the pool, so that its queue goes elsewhere meanwhile.

        Returns:
            Why it ended.

        Raises:
            ExceptionGroup: Holding InstanceFenced, when this life is over; its jobs are
                cancelled then.
        """
        await insist(lambda: self._broker.register(self._record, lease_s=self._lease_s))
        self._metrics.begin_life(
            slots=self._slots, kv_capacity_tokens=self._record.kv_capacity_tokens,
            running=lambda: self._slots - self._free_slots, waiting=lambda: len(self._room),
            kv_used_tokens=lambda: self._kv.used_tokens,
        )  # fmt: skip
        _log.info("instance %s begins epoch %s", self._record.instance_id, self._record.epoch)
        async with asyncio.TaskGroup() as tasks:
            beside = [
                tasks.create_task(self._renew_leases()),
                tasks.create_task(self._listen()),
                tasks.create_task(self._wake_when(draining)),
                tasks.create_task(self._finish()),
                tasks.create_task(self._publish()),
                tasks.create_task(self._tokens.run()),
                tasks.create_task(self._await_beginning()),
                tasks.create_task(self._watch_engine()),
            ]
            await self._claim_while_well(tasks)
            await self._drain()
            for task in (*beside, *self._leases.running.values()):
                task.cancel()
        # An attempt is counted only where a job may have made the engine hang.
        await self._leases.leave(is_attempt=self._ending is Ending.ENGINE_HUNG)
        return self._ending or Ending.DRAINED

    def _end(self, ending: Ending) -> None:
        """Claim no more; the first reason counts, but lost events are never forgotten."""
        if self._ending is None or ending is Ending.EVENTS_LOST:
            self._ending = ending
            _log.log(
                logging.INFO if ending is Ending.DRAINED else logging.ERROR,
                "instance %s ends epoch %s: %s",
                self._record.instance_id, self._record.epoch, ending.value,
            )  # fmt: skip
        self._wake.set()

    async def _publish(self) -> None:
        try:
            await self._publisher.run()
        except EventsLost as error:
            _log.warning("%s", error)
            self._end(Ending.EVENTS_LOST)
        except EngineUnavailable as error:
            _log.warning("no events can be had: %s", error)
            self._end(Ending.ENGINE_LOST)

    async def _await_beginning(self) -> None:
        """Claim nothing before it is known what the engine holds: predictions need it."""
        await self._publisher.begun()
        self._has_begun = True
        self._wake.set()

    async def _watch_engine(self) -> None:
        await self._engine.lost()
        self._end(Ending.ENGINE_LOST)

    # Claiming.

    async def _claim_while_well(self, tasks: asyncio.TaskGroup) -> None:
        while self._ending is None:
            self._wake.clear()
            self._start_waiting(tasks)
            if not await self._claim():
                await self._wake.wait()

    async def _claim(self) -> bool:
        """Let more jobs wait. Returns: Whether any came."""
        jobs = self._free_slots + self._wait_jobs - len(self._room)
        tokens = self._kv.free_tokens + self._wait_tokens - self._room.tokens
        if not (self._has_begun and jobs) or (self._is_alone and self._num_engaged):
            return False
        self._claims += 1
        async with self._claiming:
            claimed = await insist(
                lambda: self._broker.claim(
                    self._record, number=self._claims, jobs=jobs, tokens=tokens,
                    num_held=self._num_engaged, lease_s=self._lease_s,
                )
            )  # fmt: skip
            for job in claimed:
                self._room.enter(job, submitted_at_s=self._recorder.submitted_at_s(job))
                self._is_alone = job.runs_alone
        return bool(claimed)

    async def _listen(self) -> None:
        """Claim as soon as jobs were assigned; stop at once what was ended elsewhere."""
        instance_id = self._record.instance_id
        while True:
            rings = await insist(lambda: self._broker.listen(instance_id, timeout_s=LISTEN_S))
            if Ring.ASSIGNED in rings:
                self._wake.set()
            if Ring.RECALLED in rings:
                async with self._claiming:  # or a job that is just coming would not be asked for
                    await self._renew()

    async def _wake_when(self, draining: asyncio.Event) -> None:
        await draining.wait()
        self._end(Ending.DRAINED)

    # Running.

    def _start_waiting(self, tasks: asyncio.TaskGroup) -> None:
        while self._free_slots and (waiting := self._room.take(self._kv)):
            self._start(waiting, tasks)

    def _start(self, waiting: WaitingJob, tasks: asyncio.TaskGroup) -> None:
        job = waiting.job
        self._free_slots -= 1
        self._kv.begin(waiting.pages, job.spec.total_tokens)
        # In the order of starts, before any of them runs: that is what makes it come true.
        forecast = self._predictor.start(waiting.pages)
        self._recorder.started(waiting.submitted_at_s)
        task = tasks.create_task(self._run_job(waiting, forecast))
        self._leases.running[job.lease] = task
        task.add_done_callback(lambda _: self._free(waiting, forecast))

    def _free(self, waiting: WaitingJob, forecast: Forecast) -> None:
        self._predictor.end(forecast, is_computed=False)  # if it was stopped before it began
        self._free_slots += 1
        self._kv.end(waiting.pages, waiting.job.spec.total_tokens)
        self._wake.set()

    async def _run_job(self, waiting: WaitingJob, forecast: Forecast) -> None:
        log_context(job_id=waiting.job.job_id)
        _log.debug("begins attempt=%d", waiting.job.attempt)
        try:
            outcome = await self._runner.run(waiting.job, forecast)
        except EngineUnavailable as error:
            self._recorder.engine_lost()
            await self._give_up(waiting.job, error)
        else:
            _log.debug("has ended failure=%s", outcome.failure.code if outcome.failure else "none")
            self._recorder.ended(waiting.job, outcome, waiting.submitted_at_s)
            self._leases.ended(outcome)

    async def _give_up(self, job: ClaimedJob, error: EngineUnavailable) -> None:
        """Hand back a job that the engine lost, and claim no more in this life."""
        _log.warning("engine lost job %s: %s", job.job_id, error)
        await self._leases.give_up(job.lease)
        self._end(Ending.ENGINE_LOST)

    # Finishing.

    async def _finish(self) -> None:
        while True:
            await self._leases.finish()
            if not self._num_engaged:
                self._wake.set()  # for a job that must run alone

    async def _drain(self) -> None:
        """Let running jobs end, for as long as the grace time lasts; a hung engine ends none.

        Those that wait go back at once, so that others may begin them meanwhile.
        """
        with contextlib.suppress(BrokerUnavailable):  # `leave` hands them back, then
            await self._leases.hand_back_waiting()
        if self._ending is Ending.ENGINE_HUNG:
            return
        _log.info("draining running_jobs=%d", len(self._leases.running))
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._leases.all_ended()
        except TimeoutError:
            _log.warning("%d jobs did not end in %s s", len(self._leases.running), DRAIN_S)

    # Leases.

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 4)
            if not self._pulse.is_felt():
                self._end(Ending.ENGINE_HUNG)
                return
            await self._renew()

    async def _renew(self) -> None:
        if await self._leases.renew(kv_used_tokens=self._kv.used_tokens):
            self._wake.set()

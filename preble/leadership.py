"""One term of a leader: moves messages between the broker and the Scheduler.

    load the pool ─▶ ┌ reap, if due ─▶ peek ─▶ decide ─▶ route ─▶ follow events ─▶ fold ┐
                     └───────────────────────────────── turn ◀──────────────────────────┘

A term knows nothing of the one before it: it begins with what the broker holds.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from preble.broker import Broker
from preble.broker.bulletin import Cursor, News
from preble.clock import Clock
from preble.config import Settings
from preble.errors import ConfigError
from preble.messages import (
    Assignment,
    EventBatch,
    InstanceDrained,
    InstanceId,
    InstanceJoined,
    InstanceRecord,
    InstanceResumed,
    JobEnded,
    JobId,
    JobsAdmitted,
    JobsReaped,
    LeaderToken,
    Reaped,
    Signal,
    WaitingJob,
)
from preble.metrics import SchedulerMetrics
from preble.policy import create_policy
from preble.scheduler import Scheduler

REAP_EVERY_S: Final = 0.5
REAP_LIMIT: Final = 1_000
RESTORE_TOGETHER: Final = 256
CATCH_UP_READS: Final = 64

_log = logging.getLogger(__name__)


class Leadership:
    """One term of a leader: the Scheduler, and how far it has followed the pool."""

    def __init__(
        self, broker: Broker, settings: Settings, clock: Clock, token: LeaderToken,
        metrics: SchedulerMetrics,
    ) -> None:  # fmt: skip
        self._token = token
        self._metrics = metrics
        self._broker = broker
        self._settings = settings
        self._clock = clock
        self._scheduler = Scheduler(
            create_policy(settings.policy),
            block_size=settings.block_size,
            history_s=settings.history_s,
        )
        self._cursor = Cursor("", {})
        self._reap_at_s = clock.now_s()
        self._has_waiting = True
        self._window_jobs = settings.window_jobs
        self._alone: JobId | None = None
        """The job of the quarantine that was placed last."""

    async def load(self) -> None:
        """Build the Scheduler's state from the broker. Raises: BrokerUnavailable."""
        pool = await self._broker.bulletin.load_pool()
        self._cursor = pool.cursor
        for record in pool.instances:
            self._join(record)
        for snapshot in pool.snapshots:
            self._scheduler.load_snapshot(snapshot)
        for number, job in enumerate(pool.placed):
            self._scheduler.restore(job, now_s=self._clock.now_s())
            if number % RESTORE_TOGETHER == 0:
                await asyncio.sleep(0)  # to renew the leadership
        await self._catch_up()
        scheduler = self._scheduler
        self._metrics.begin_term(
            instances=lambda: len(scheduler.instances), imbalance=lambda: scheduler.load_imbalance,
            blocks=lambda: scheduler.known_blocks,
        )  # fmt: skip
        _log.info(
            "leading token=%s policy=%s instances=%d cached_blocks=%d placed_jobs=%d",
            self._token, self._settings.policy, len(pool.instances),
            self._scheduler.cached_blocks, len(pool.placed),
        )  # fmt: skip

    async def _catch_up(self) -> None:
        """Fold all that came, so that nothing is decided on old news.

        Bounded, for events may come as fast as they are read.
        """
        for _ in range(CATCH_UP_READS):
            news = await self._broker.bulletin.follow(self._cursor, timeout_s=0)
            await self._fold(news)
            if not (news.batches or news.signals):
                return

    async def turn(self) -> None:
        """One round: reap if due, place what waits, then follow what happens.

        Raises:
            NotLeader: If another scheduler took over.
            BrokerUnavailable: If Redis is away.
        """
        if self._clock.now_s() >= self._reap_at_s:
            await self._reap()
        has_more = self._has_waiting and await self._place_window()
        timeout_s = 0 if has_more else REAP_EVERY_S
        await self._fold(await self._broker.bulletin.follow(self._cursor, timeout_s=timeout_s))

    async def _reap(self) -> None:
        """Take back what the dead hold, and hear of it before anything is placed again."""
        self._reap_at_s = self._clock.now_s() + REAP_EVERY_S
        reaped = await self._broker.reap(self._token, limit=REAP_LIMIT)
        await self._catch_up()
        if reaped != Reaped():
            self._metrics.reaped(
                requeued=len(reaped.requeued), failed=len(reaped.failed),
                expired=len(reaped.expired), gone=len(reaped.gone),
            )  # fmt: skip
            _log.warning(
                "reaped requeued_jobs=%d failed_jobs=%d expired_jobs=%d gone_instances=%s",
                len(reaped.requeued), len(reaped.failed), len(reaped.expired),
                ",".join(reaped.gone) or "none",
            )  # fmt: skip

    async def _place_window(self) -> bool:
        """Place the first jobs that wait.

        Returns:
            Whether more may wait that can be placed at once.

        Changes: the window, and notes whether any job is left waiting.
        """
        if not self._may_place():
            return False
        waiting = await self._broker.peek(
            self._window_jobs, batch_window_jobs=self._settings.batch_window_jobs
        )
        eligible = self._eligible(waiting)
        ingress = {job.job_id: job.ingress for job in eligible}
        with self._metrics.deciding(len(waiting)):
            decided = [(ingress[each.job_id], each) for each in self._decide(eligible)]
        self._fit_window(is_all=len(decided) == len(waiting))
        has_moved = bool(decided) and any(await self._route(decided))
        self._has_waiting = bool(waiting)
        return has_moved

    def _fit_window(self, *, is_all: bool) -> None:
        """Look twice as far where all that was seen could be placed, else no further than said.

        So a pool that takes jobs as fast as they come needs fewer looks, and a plan that leaves
        jobs waiting, and is made anew with each that ends, stays small.
        """
        settings = self._settings
        twice = min(2 * self._window_jobs, settings.batch_window_jobs)
        self._window_jobs = max(twice if is_all else 0, settings.window_jobs)

    def _may_place(self) -> bool:
        """Whether it is worth a look at what waits."""
        settings = self._settings
        return not settings.is_late or self._scheduler.has_credit(
            settings.credit_s, now_s=self._clock.now_s()
        )

    def _eligible(self, waiting: list[WaitingJob]) -> list[WaitingJob]:
        """All but those of the quarantine, and of those one at a time.

        An instance stands still while it empties for such a job; so no two of them do.
        """
        alone = [job.job_id for job in waiting if job.runs_alone]
        if self._alone is None or not self._scheduler.is_placed(self._alone):
            self._alone = alone[0] if alone else None
        return [job for job in waiting if not job.runs_alone or job.job_id == self._alone]

    def _decide(self, waiting: list[WaitingJob]) -> list[Assignment]:
        now_s = self._clock.now_s()
        if self._settings.is_late:
            return self._scheduler.plan(waiting, credit_s=self._settings.credit_s, now_s=now_s)
        decided = (self._scheduler.assign(job, now_s=now_s) for job in waiting)
        return [assignment for assignment in decided if assignment]

    async def _route(self, decided: list[tuple[str, Assignment]]) -> list[bool]:
        moved = await self._broker.route(self._token, decided)
        for (_, assignment), has_moved in zip(decided, moved, strict=True):
            if not has_moved:
                self._scheduler.forget(assignment.job_id)
        self._metrics.decided((each.policy, each.reason) for _, each in decided)
        return moved

    async def _fold(self, news: News) -> None:
        self._cursor = news.cursor
        self._metrics.followed(len(news.batches))
        for signal in news.signals:
            await self._hear(signal)
        for batch in news.batches:
            if not self._scheduler.fold(batch):
                _log.warning("events of %s were missed; loading its snapshot", batch.instance_id)
                self._metrics.gaps.inc()
                await self._resync(batch)

    async def _hear(self, signal: Signal) -> None:
        match signal:
            case JobsAdmitted():
                self._has_waiting = True
            case JobsReaped(requeued, gone):
                self._take_back(requeued, gone)
            case JobEnded():
                self._scheduler.ended(signal, now_s=self._clock.now_s())
            case InstanceJoined(record):
                self._join(record)
                await self._load_snapshot(record.instance_id)
                self._has_waiting = True
            case InstanceDrained(instance_id):
                _log.info("instance %s is drained", instance_id)
                self._take_back((), (instance_id,))
            case InstanceResumed(instance_id):
                await self._resume(instance_id)

    def _take_back(self, jobs: Iterable[JobId], instances: Iterable[InstanceId]) -> None:
        for job_id in jobs:
            self._scheduler.forget(job_id)
        for instance_id in instances:
            self._scheduler.leave(instance_id)
        self._has_waiting = True

    async def _resume(self, instance_id: InstanceId) -> None:
        """Join a drained instance, with the jobs that it still has. Rare, so all may be read."""
        pool = await self._broker.bulletin.load_pool()
        for record in pool.instances:
            if record.instance_id == instance_id:
                self._join(record)
                await self._load_snapshot(instance_id)
        for job in pool.placed:
            if job.instance_id == instance_id:
                self._scheduler.restore(job, now_s=self._clock.now_s())
        self._has_waiting = True

    def _join(self, record: InstanceRecord) -> None:
        try:
            self._scheduler.join(record)
        except ConfigError as error:
            _log.error("instance %s cannot be used: %s", record.instance_id, error)
        else:
            _log.info("instance %s joined engine=%s", record.instance_id, record.engine)

    async def _resync(self, batch: EventBatch) -> None:
        """Batches before this one are missing: go on from a snapshot, else from nothing."""
        await self._load_snapshot(batch.instance_id)
        if self._scheduler.is_behind(batch):
            self._scheduler.restart_blocks(batch)

    async def _load_snapshot(self, instance_id: InstanceId) -> None:
        """Take the newest snapshot and follow the instance's events from there."""
        snapshot, event_cursor = await self._broker.bulletin.load_snapshot(instance_id)
        if snapshot:
            self._scheduler.load_snapshot(snapshot)
            self._metrics.snapshots_loaded.inc()
        events = {**self._cursor.events, instance_id: event_cursor}
        self._cursor = Cursor(self._cursor.signals, events)

"""The lines of a valid batch, run to their ends: handed over a window at a time, then awaited.

    plan ──feed──▶ window ──job ends──▶ writer ──▶ part files
             ▲                             │
             └────────── room ─────────────┘

Stopped, by a cancellation or because the time is over, it hands over nothing more, ends what is
under way, keeps what was answered meanwhile, and writes an error for each of the other lines.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from preble.broker.insisting import insist
from preble.clock import unix_s
from preble.errors import BrokerUnavailable, QueueFull
from preble.messages import JobId, JobView, Submission
from preble_api.batches.folder import BatchRecord
from preble_api.batches.lines import LineError
from preble_api.batches.plan import Plan
from preble_api.batches.shift import Shift
from preble_api.batches.tools import Tools
from preble_api.batches.window import Window
from preble_api.batches.work import RESULT_EXPIRED, BatchLine, Ended, Work, why_stopped
from preble_api.batches.writer import ResultWriter
from preble_api.errors import HttpError
from preble_api.files.off_loop import in_thread
from preble_api.submitting import admit_counted

CHUNK_LINES: Final = 128
CHUNK_BYTES: Final = 1024 * 1024
"""Of input lines, read and handed over together."""

WATCH_S: Final = 0.5
"""Between two looks whether the batch is to stop."""

_AT_ONCE: Final = 16
"""Lines taken in before other requests have their turn."""

_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 10.0

JOB_LOST: Final = "job_lost"
"""Code of a wait whose job is no longer known."""


class LineRun:
    """Runs the lines of one batch.

    Args:
        tools: Of this api.
        record: What was asked.
        work: What is done with each line.
        plan: The lines.
        shift: Where results go.
    """

    def __init__(
        self, tools: Tools, record: BatchRecord, work: Work, plan: Plan, shift: Shift
    ) -> None:
        self._tools = tools
        self._record = record
        self._work = work
        self._plan = plan
        self._shift = shift
        self._window = Window()
        self._writer = ResultWriter(shift, len(plan), tools.clock, self._written)
        self._stopped: LineError | None = None
        self._stop = asyncio.Event()
        self._kept_s = tools.result_ttl_s

    async def run(self) -> LineError | None:
        """Bring all lines to their ends, those that were not before.

        Returns:
            Why the batch was stopped, or None if it was not.
        """
        async with asyncio.TaskGroup() as tasks:
            helpers = [tasks.create_task(self._writer.run()), tasks.create_task(self._watch())]
            await self._feed(tasks)
            await self._drained()
            stopped = self._stopped
            if stopped is not None:
                await self._end_jobs()
                await self._drained(even_if_stopped=True)
                await self._give_up(stopped)
            await self._writer.written()
            for each in helpers:
                each.cancel()
        return stopped

    async def _watch(self) -> None:
        folder, record = self._shift.folder, self._record
        while (stopped := await in_thread(why_stopped, folder, record)) is None:  # noqa: ASYNC110  asks the disk
            await asyncio.sleep(WATCH_S)
        self._stopped = stopped
        self._stop.set()
        self._window.look_again()

    # Handing over.

    async def _feed(self, tasks: asyncio.TaskGroup) -> None:
        for positions in self._chunks():
            places = [self._plan[each] for each in positions]
            while self._stopped is None and not self._window.has_room(places):
                await self._window.changed()
            if self._stopped is not None:
                return
            lines = await self._read(positions)
            await in_thread(self._shift.hand_over, positions[-1] + 1)
            await self._hand_over(tasks, lines)

    async def _hand_over(self, tasks: asyncio.TaskGroup, lines: Sequence[BatchLine]) -> None:
        await self._learn_how_long_results_are_kept()
        jobs: list[tuple[BatchLine, Submission]] = []
        for at in range(0, len(lines), _AT_ONCE):
            some = lines[at : at + _AT_ONCE]
            made = await asyncio.gather(*(self._submission(each) for each in some))
            jobs += [(line, job) for line, job in zip(some, made, strict=True) if job is not None]
        for line, job in jobs:
            self._window.add(line.place, job.job_id)
        await self._admit(tasks, jobs)

    async def _submission(self, line: BatchLine) -> Submission | None:
        """The line's job; None if it has ended already, which is written."""
        made = await self._work.submission(line)
        if isinstance(made, Ended):
            self._writer.put(made)
            return None
        if self._may_have_expired(line) and await self._view(made.job_id) is None:
            self._writer.put(self._work.unanswered(line, RESULT_EXPIRED))
            return None
        return self._tools.waits.followed(made)

    async def _admit(
        self, tasks: asyncio.TaskGroup, jobs: Sequence[tuple[BatchLine, Submission]]
    ) -> None:
        """Hand jobs over, however long the queue is full or away, unless stopped meanwhile."""
        while self._stopped is None and jobs:
            try:
                submissions = [job for _, job in jobs]
                await admit_counted(self._tools.admission, self._tools.metrics, submissions)
            except QueueFull as full:
                half = len(jobs) // 2
                if half:  # a part of them may fit
                    await self._admit(tasks, jobs[:half])
                    jobs = jobs[half:]
                else:
                    await self._pause(min(full.retry_after_s, _LONGEST_PAUSE_S))
            except BrokerUnavailable:
                await self._pause(_PAUSE_S)
            else:
                for line, job in jobs:
                    tasks.create_task(self._follow(tasks, line, job))
                return
        for line, _ in jobs:
            self._window.remove(line.place)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not once the batch is to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    # Awaiting.

    async def _follow(self, tasks: asyncio.TaskGroup, line: BatchLine, job: Submission) -> None:
        while True:
            try:
                view = await self._tools.waits.ended(job.job_id)
            except HttpError as error:
                if error.code == JOB_LOST:
                    return await self._lost(tasks, line, job)
                await asyncio.sleep(_PAUSE_S)  # the wait was given up, the job goes on
            else:
                return self._writer.put(await self._ended(line, view, self._stopped))

    async def _ended(self, line: BatchLine, view: JobView, stopped: LineError | None) -> Ended:
        """What became of a job that has ended."""
        make = partial(self._work.ended, line, view, stopped)
        return await self._tools.rendering.of([view], make)

    async def _lost(self, tasks: asyncio.TaskGroup, line: BatchLine, job: Submission) -> None:
        await self._learn_how_long_results_are_kept()
        if self._may_have_expired(line):
            self._writer.put(self._work.unanswered(line, RESULT_EXPIRED))
        else:
            await self._admit(tasks, [(line, self._tools.waits.followed(job))])

    async def _learn_how_long_results_are_kept(self) -> None:
        self._kept_s = min(self._tools.result_ttl_s, await insist(self._tools.broker.counts.kept_s))

    def _may_have_expired(self, line: BatchLine) -> bool:
        """Whether a job that nobody knows may have ended, and been forgotten, since."""
        return unix_s() - self._shift.handed_at_s(line.position) > self._kept_s

    async def _drained(self, *, even_if_stopped: bool = False) -> None:
        """Return when nothing is under way, or the batch is to stop."""
        while self._window.job_ids and (even_if_stopped or self._stopped is None):
            await self._window.changed()

    def _written(self, lines: Sequence[Ended]) -> None:
        for each in lines:
            self._window.remove(each.place)
            self._tools.metrics.batch_lines.labels(each.kind).inc()

    # Stopping.

    async def _end_jobs(self) -> None:
        """Let what is under way end now; what has an answer keeps it."""
        job_ids = self._window.job_ids
        for at in range(0, len(job_ids), CHUNK_LINES):
            await self._cancel(job_ids[at : at + CHUNK_LINES])

    async def _give_up(self, reason: LineError) -> None:
        """An end for each line that has none. Those handed over long ago may have an answer."""
        for positions in self._chunks():
            lines = await self._read(positions)
            job_ids = [self._work.job_id(line.place) for line in lines]
            handed = sum(position < self._shift.handed_end for position in positions)
            await self._cancel(job_ids[:handed])
            views = [await self._view(job_id) for job_id in job_ids[:handed]]
            for line, view in zip(lines, [*views, *[None] * len(lines)], strict=False):
                self._writer.put(
                    self._work.unanswered(line, reason)
                    if view is None
                    else await self._ended(line, view, reason)
                )
            await self._writer.written()

    async def _cancel(self, job_ids: Sequence[JobId]) -> None:
        if job_ids:
            await insist(lambda: self._tools.broker.cancel(job_ids))

    async def _view(self, job_id: JobId) -> JobView | None:
        return await insist(lambda: self._tools.broker.view(job_id))

    # The plan.

    def _chunks(self) -> Iterator[list[int]]:
        """Positions of the lines that have not come to their end, some at a time, in order."""
        chunk: list[int] = []
        num_bytes = 0
        done = self._shift.tally.done
        for position, place in enumerate(self._plan):
            if place.number in done:
                continue
            if chunk and (len(chunk) >= CHUNK_LINES or num_bytes + place.num_bytes > CHUNK_BYTES):
                yield chunk
                chunk, num_bytes = [], 0
            chunk.append(position)
            num_bytes += place.num_bytes
        if chunk:
            yield chunk

    async def _read(self, positions: Sequence[int]) -> list[BatchLine]:
        path = self._shift.folder.input
        return await in_thread(self._work.read, path, self._plan, positions)

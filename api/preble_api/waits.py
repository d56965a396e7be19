"""Requests that wait for their job: for its end, and for what it makes on the way.

    admit(followed(job)) ─▶ worker ─ tokens, end ─▶ inbox ─▶ ended, pieces

This api hears of the jobs that it was told to follow. What it does not hear, as of jobs that
others admitted or while the queue was away, it finds by asking (`endings.py`).
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect

from preble.broker import Broker
from preble.broker.streams import LOG_START
from preble.clock import Clock
from preble.errors import BrokerError
from preble.messages import JobId, JobView, Submission
from preble_api.endings import Endings, IsGone, OnLook, Wait
from preble_api.errors import HttpError
from preble_api.inbox import FollowedJob, Inbox
from preble_api.transcript import Piece, Reader, Transcript

__all__ = ["KEEP_ALIVE_S", "IsGone", "Piece", "Sight", "Waits"]

KEEP_ALIVE_S: Final = 10.0
"""Silence after which a stream says that it lives; proxies cut what is silent for a minute."""

_DIVERGED: Final = "the job was run again after its worker failed, and now says something else"

_log = logging.getLogger(__name__)


class Sight(msgspec.Struct, frozen=True):
    """A job as it was seen, and what is known of its output."""

    view: JobView
    transcript: Transcript


class Waits:
    """The waits of one api.

    Args:
        broker: The queue.
        clock: Measures them.
        longest_s: Of one wait.
    """

    def __init__(self, broker: Broker, clock: Clock, *, longest_s: float) -> None:
        self._broker = broker
        self._inbox = Inbox(broker.streams)
        self._endings = Endings(broker, self._inbox.name, clock, longest_s=longest_s)
        self._cancelling: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Hear of the jobs that are followed here, for ever."""
        await self._inbox.listen()

    def stop(self) -> None:
        """End all waits: this api is being stopped."""
        self._endings.stop()
        self._inbox.wake_all()

    @property
    def is_stopping(self) -> bool:
        """Whether nobody is to wait any longer."""
        return self._endings.is_stopping

    def followed(
        self, submission: Submission, *, is_streamed: bool = False, is_logged: bool = False
    ) -> Submission:
        """The submission of a job whose end this api is to hear of; admit it next.

        Args:
            submission: Under its final id: after `under_key`.
            is_streamed: Whether to hear of its tokens, too.
            is_logged: Whether its tokens are kept, so that they can be followed from anywhere.
        """
        # One under a key may be there already, and tell another api.
        self._inbox.expect(submission.job_id, is_told=not submission.fingerprint)
        spec = msgspec.structs.replace(
            submission.spec, inbox=self._inbox.name, is_streamed=is_streamed,
            is_logged=is_logged or submission.spec.is_logged,
        )  # fmt: skip
        return msgspec.structs.replace(submission, spec=spec)

    async def ended(
        self, job_id: JobId, *, is_gone: IsGone | None = None, cancel_if_gone: bool = False
    ) -> JobView:
        """A job once it has ended. The job goes on whatever becomes of the wait.

        Args:
            job_id: Of a job that was admitted.
            is_gone: Whether the client has left, so that nobody needs the answer.
            cancel_if_gone: Whether the job is to end then, too.

        Raises:
            HttpError: If the wait ends before the job (503, 504), or the job is lost (500).
            ClientDisconnect: If the client has left.
        """
        with self._inbox.following(job_id) as job:
            try:
                return await self._endings.end(job_id, Wait(job, is_gone=is_gone))
            except ClientDisconnect:
                if cancel_if_gone:
                    self._cancel_soon(job_id)
                raise

    async def pieces(
        self, job_id: JobId, *, cancel_if_gone: bool = False
    ) -> AsyncGenerator[Piece | JobView | None]:
        """What a job makes, as it is made; last the job, which has ended.

        Of a job that is neither followed with `is_streamed` nor logged, all of it at its end.

        Args:
            job_id: Of a job that was admitted.
            cancel_if_gone: Whether the job is to end if nobody reads on.

        Yields:
            A piece of what was not yielded before: together they are the result's text. None after
            `KEEP_ALIVE_S` of silence. Last the view of the job, which need not have completed.

        Raises:
            HttpError: As `ended`; 500 `stream_diverged` if what was yielded turns out to be wrong.
        """
        with self._inbox.following(job_id) as job:
            reader = Reader(job.transcript)
            wait = Wait(job, on_look=self._log_reader(job_id, job))
            ending = self._end_beside(job_id, wait)
            try:
                while not ending.done():
                    rings = job.news.rings
                    if piece := _next_piece(job_id, reader):
                        yield piece
                    elif not await job.news.rung(rings, within_s=KEEP_ALIVE_S):
                        yield None
                view = _completed(ending.result(), job)
                if piece := _next_piece(job_id, reader):
                    yield piece
                yield view
            except (GeneratorExit, asyncio.CancelledError):
                if cancel_if_gone and not ending.done():
                    self._cancel_soon(job_id)
                raise
            finally:
                ending.cancel()

    async def watch(self, job_id: JobId) -> AsyncGenerator[Sight | None]:
        """A job as it goes on, with what is known of its output; last as it has ended.

        Yields:
            A sight after each look, perhaps the same as before. None after `KEEP_ALIVE_S` without.

        Raises:
            HttpError: As `ended`.
        """
        with self._inbox.following(job_id) as job:
            seen: list[JobView] = []
            read_log = self._log_reader(job_id, job)

            async def on_look(view: JobView) -> None:
                await read_log(view)
                seen[:] = [view]
                job.news.ring()

            ending = self._end_beside(job_id, Wait(job, on_look=on_look, is_watched=True))
            rings = 0
            try:
                while not ending.done():
                    if not await job.news.rung(rings, within_s=KEEP_ALIVE_S):
                        yield None
                    rings = job.news.rings
                    for view in seen:
                        yield Sight(view, job.transcript)
                yield Sight(_completed(ending.result(), job), job.transcript)
            finally:
                ending.cancel()

    def _end_beside(self, job_id: JobId, wait: Wait) -> asyncio.Task[JobView]:
        ending = asyncio.create_task(self._endings.end(job_id, wait))
        ending.add_done_callback(lambda _: wait.job.news.ring())
        return ending

    def _log_reader(self, job_id: JobId, job: FollowedJob) -> OnLook:
        """Takes what is new in the job's log; this also finds what the inbox has lost."""
        cursor = LOG_START

        async def read(view: JobView) -> None:
            nonlocal cursor
            while view.spec.is_logged:
                page = await self._broker.streams.read_log(job_id, cursor)
                if not page.deltas:
                    return
                cursor = page.cursor
                for delta in page.deltas:
                    job.transcript.add(delta)
                job.news.ring()

        return read

    def _cancel_soon(self, job_id: JobId) -> None:
        """In a task of its own: who asks for it is itself being cancelled."""
        task = asyncio.create_task(self._cancel(job_id))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _cancel(self, job_id: JobId) -> None:
        try:
            await self._broker.cancel([job_id])
        except BrokerError as error:
            _log.warning("job %s, whose client has left, goes on: %s", job_id, error)


def _next_piece(job_id: JobId, reader: Reader) -> Piece | None:
    if reader.step_back():
        message = f"{_DIVERGED}; the job goes on, ask for it at /v1/jobs/{job_id}"
        raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "stream_diverged", message)
    return reader.take()


def _completed(view: JobView, job: FollowedJob) -> JobView:
    if view.result is not None:
        job.transcript.complete(view.result)
    return view

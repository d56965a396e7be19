"""Waiting for the end of one job: hearing of it, and asking where nothing is heard.

The queue is asked soon at first, for a short job should not wait long for its answer, then ever
more slowly; and rarely for a job that tells this api's inbox. All waits together ask at most
`LOOKS_PER_S` times a second, however many there are, and `TOLD_LOOKS_PER_S` where they are told.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect

from preble.broker import Broker
from preble.clock import Clock
from preble.errors import BrokerUnavailable
from preble.messages import JobId, JobView
from preble_api.errors import HttpError
from preble_api.inbox import FollowedJob

LOOKS_PER_S: Final = 1_000
"""A look costs Redis about 40 microseconds and this process 200: a fifth of a core at most."""

TOLD_LOOKS_PER_S: Final = 100
"""For what was told and not heard, as when Redis was started again: rare, and never relied on."""

QUEUE_DOWN_S: Final = 15.0
"""The queue may be away so long, as when it is started again, before a wait gives up."""

_SHORTEST_PAUSE_S: Final = 0.005
_LONGEST_PAUSE_S: Final = 0.1
_PAUSE_PER_WAITED: Final = 0.1
_PAUSE_IF_TOLD_S: Final = 2.0
_PAUSE_FOR_CLIENT_S: Final = 1.0
"""Between two questions whether the client is still there, which cost the queue nothing."""

_QUEUE_AWAY: Final = "the queue cannot be reached just now"
_STOPPING: Final = "this api is being stopped"
_TOO_SLOW: Final = "the job has not ended yet"

IsGone = Callable[[], Awaitable[bool]]
OnLook = Callable[[JobView], Awaitable[None]]


class Wait:
    """One wait for the end of a job.

    Args:
        job: What is heard of it.
        is_gone: Whether the client has left.
        on_look: Called with the job whenever it was looked at and had not ended.
        is_watched: Whether how it stands matters, which only a look tells.
    """

    def __init__(
        self, job: FollowedJob, *, is_gone: IsGone | None = None, on_look: OnLook | None = None,
        is_watched: bool = False,
    ) -> None:  # fmt: skip
        self.job = job
        self.is_gone = is_gone
        self.on_look = on_look
        self.is_watched = is_watched
        self.is_told = job.is_told and not is_watched
        self.rings = 0
        """Of the job's end, that were answered by a look."""
        self.now_s = self.began_s = self.looked_s = 0.0
        self.away_since_s: float | None = None
        """When the queue first gave no answer; None while it does."""

    def begin(self, now_s: float) -> None:
        """A job that was just made need not be looked at, to see that it has not ended."""
        self.now_s = self.began_s = now_s
        self.looked_s = now_s if self.is_told else float("-inf")


class Endings:
    """All waits of one api for the ends of jobs.

    Args:
        broker: The queue.
        inbox: The name of what jobs tell that are followed here.
        clock: Measures the waits.
        longest_s: Of one wait.
    """

    def __init__(self, broker: Broker, inbox: str, clock: Clock, *, longest_s: float) -> None:
        self._broker = broker
        self._inbox = inbox
        self._clock = clock
        self._longest_s = longest_s
        self._waiting = 0
        self.is_stopping = False
        """Whether this api is, so that each wait ends when it wakes."""

    def stop(self) -> None:
        """Let each wait end when it wakes."""
        self.is_stopping = True

    async def end(self, job_id: JobId, wait: Wait) -> JobView:
        """A job once it has ended. Raises: HttpError, ClientDisconnect, as `Waits.ended`."""
        self._waiting += 1
        try:
            wait.begin(self._clock.now_s())
            while True:
                if view := await self._look_if_due(job_id, wait):
                    return view
                self._require_patience(job_id, wait)
                if wait.is_gone is not None and await wait.is_gone():
                    raise ClientDisconnect
                await wait.job.end.rung(wait.rings, within_s=self._sleep_s(wait))
        finally:
            self._waiting -= 1

    async def _look_if_due(self, job_id: JobId, wait: Wait) -> JobView | None:
        """The job, if it has ended. Raises: HttpError."""
        wait.now_s = self._clock.now_s()
        is_told_now = wait.rings != wait.job.end.rings
        if not is_told_now and wait.now_s - wait.looked_s < self._pause_s(wait):
            return None
        wait.rings, wait.looked_s = wait.job.end.rings, wait.now_s
        try:
            return await self._look(job_id, wait)
        except BrokerUnavailable:
            wait.away_since_s = wait.now_s if wait.away_since_s is None else wait.away_since_s
            if wait.now_s - wait.away_since_s > QUEUE_DOWN_S:
                raise _given_up(job_id, HTTPStatus.SERVICE_UNAVAILABLE, _QUEUE_AWAY) from None
            return None

    async def _look(self, job_id: JobId, wait: Wait) -> JobView | None:
        view = await self._broker.view(job_id)
        wait.away_since_s = None
        if view is None:
            raise _lost(job_id)
        if view.state.is_terminal:
            return view
        wait.is_told = view.spec.inbox == self._inbox and not wait.is_watched
        if wait.on_look is not None:
            await wait.on_look(view)
        return None

    def _require_patience(self, job_id: JobId, wait: Wait) -> None:
        """Raises: HttpError, if the wait ends before the job."""
        if self.is_stopping:
            raise _given_up(job_id, HTTPStatus.SERVICE_UNAVAILABLE, _STOPPING)
        if wait.now_s - wait.began_s > self._longest_s:
            raise _given_up(job_id, HTTPStatus.GATEWAY_TIMEOUT, _TOO_SLOW)

    def _pause_s(self, wait: Wait) -> float:
        """Between two looks."""
        if wait.is_told and wait.away_since_s is None:
            return max(_PAUSE_IF_TOLD_S, self._waiting / TOLD_LOOKS_PER_S)
        waited_s = wait.now_s - wait.began_s
        alone_s = min(max(_SHORTEST_PAUSE_S, waited_s * _PAUSE_PER_WAITED), _LONGEST_PAUSE_S)
        return max(alone_s, self._waiting / LOOKS_PER_S)

    def _sleep_s(self, wait: Wait) -> float:
        due_s = max(wait.looked_s + self._pause_s(wait) - wait.now_s, _SHORTEST_PAUSE_S)
        return due_s if wait.is_gone is None else min(due_s, _PAUSE_FOR_CLIENT_S)


def _lost(job_id: JobId) -> HttpError:
    message = f"job {job_id} is no longer in the queue: it has expired or its data were deleted"
    return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "job_lost", message)


def _given_up(job_id: JobId, status: HTTPStatus, reason: str) -> HttpError:
    """Without a word of trying again: that would make a second job."""
    message = f"{reason}; the job goes on, ask for it at /v1/jobs/{job_id}"
    return HttpError(status, "wait_ended", message)

"""Requests that wait for their job to end: the one place where the queue is asked again.

The queue tells nobody that a job has ended, so it is asked: soon at first, for a short job
should not wait long for its answer, then ever more slowly. All waits together ask at most
`LOOKS_PER_S` times a second, however many there are.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect

from preble.broker import Broker
from preble.clock import Clock
from preble.errors import BrokerUnavailable
from preble.messages import JobId, JobView
from preble_api.errors import HttpError

LOOKS_PER_S: Final = 1_000
"""A look costs Redis about 40 microseconds and this process 200: a fifth of a core at most."""

QUEUE_DOWN_S: Final = 15.0
"""The queue may be away so long, as when it is started again, before a wait gives up."""

_SHORTEST_PAUSE_S: Final = 0.005
_LONGEST_PAUSE_S: Final = 0.1
_PAUSE_PER_WAITED: Final = 0.1

_QUEUE_AWAY: Final = "the queue cannot be reached just now"
_STOPPING: Final = "this api is being stopped"
_TOO_SLOW: Final = "the job has not ended yet"

IsGone = Callable[[], Awaitable[bool]]


class Waits:
    """The waits of one api.

    Args:
        broker: The queue.
        clock: Measures them.
        longest_s: Of one wait.
    """

    def __init__(self, broker: Broker, clock: Clock, *, longest_s: float) -> None:
        self._broker = broker
        self._clock = clock
        self._longest_s = longest_s
        self._waiting = 0
        self._is_stopping = False

    def stop(self) -> None:
        """End all waits, within their next pause: this api is being stopped."""
        self._is_stopping = True

    async def ended(self, job_id: JobId, *, is_gone: IsGone | None = None) -> JobView:
        """A job once it has ended. The job goes on whatever becomes of the wait.

        Args:
            job_id: Of a job that was admitted.
            is_gone: Whether the client has left, so that nobody needs the answer.

        Raises:
            HttpError: If the wait ends before the job (503, 504), or the job is lost (500).
            ClientDisconnect: If the client has left.
        """
        self._waiting += 1
        try:
            return await self._ended(job_id, is_gone)
        finally:
            self._waiting -= 1

    async def _ended(self, job_id: JobId, is_gone: IsGone | None) -> JobView:
        began_s = answered_s = self._clock.now_s()
        while True:
            now_s = self._clock.now_s()
            try:
                view = await self._broker.view(job_id)
                answered_s = now_s
            except BrokerUnavailable:
                if now_s - answered_s > QUEUE_DOWN_S:
                    raise _given_up(job_id, HTTPStatus.SERVICE_UNAVAILABLE, _QUEUE_AWAY) from None
            else:
                if view is None:
                    raise _lost(job_id)
                if view.state.is_terminal:
                    return view
            if self._is_stopping:
                raise _given_up(job_id, HTTPStatus.SERVICE_UNAVAILABLE, _STOPPING)
            if now_s - began_s > self._longest_s:
                raise _given_up(job_id, HTTPStatus.GATEWAY_TIMEOUT, _TOO_SLOW)
            if is_gone is not None and await is_gone():
                raise ClientDisconnect
            await asyncio.sleep(self._pause_s(now_s - began_s))

    def _pause_s(self, waited_s: float) -> float:
        alone = min(max(_SHORTEST_PAUSE_S, waited_s * _PAUSE_PER_WAITED), _LONGEST_PAUSE_S)
        return max(alone, self._waiting / LOOKS_PER_S)


def _lost(job_id: JobId) -> HttpError:
    message = f"job {job_id} is no longer in the queue: it has expired or its data were deleted"
    return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "job_lost", message)


def _given_up(job_id: JobId, status: HTTPStatus, reason: str) -> HttpError:
    """Without a word of trying again: that would make a second job."""
    message = f"{reason}; the job goes on, ask for it at /v1/jobs/{job_id}"
    return HttpError(status, "wait_ended", message)

"""`GET /v1/jobs/{job_id}/events`: follow a job, and go on where a lost connection left off."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from preble.errors import PrebleError
from preble.messages import JobId
from preble_api.job_access import JobAccess
from preble_api.job_events import END_ID, LAST_EVENT_ID, JobEvents, Mark, end_event
from preble_api.openapi import Json, job_id_parameter, problems
from preble_api.rendering import Rendering
from preble_api.views import JOBS_PATH
from preble_api.waits import Waits

_MEDIA_TYPE: Final = "text/event-stream"
_RETRY: Final = b"retry: 1000\n\n"
"""Milliseconds after which a browser asks again."""

_SILENCE: Final = b": still here\n\n"
_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class EventRoutes:
    """`GET /v1/jobs/{job_id}/events`.

    Args:
        access: Finds jobs.
        waits: Follows them.
        rendering: Makes the last event.
    """

    def __init__(self, access: JobAccess, waits: Waits, rendering: Rendering) -> None:
        self._access = access
        self._waits = waits
        self._rendering = rendering

    def add_to(self, app: FastAPI) -> None:
        """Declare the route."""
        app.add_api_route(
            JOBS_PATH + "/{job_id}/events", self.events, methods=["GET"],
            summary="Follow a job as it goes on",
            description=(
                "Server-sent events: `state` whenever the job stands otherwise, `delta` with new "
                "text of a job that was submitted with `stream` (and its tokens, if logprobs "
                "were asked for), and last `end` with the job as "
                "`GET` shows it. Who connects again with `Last-Event-ID` is told what follows, by "
                "any api process; after `end` there is nothing more (204)."
            ),
            openapi_extra={"parameters": [job_id_parameter(), _last_event_id_parameter()]},
            responses={
                200: {
                    "description": "The events, until the job has ended or this api is stopped.",
                    "content": {_MEDIA_TYPE: {"schema": {"type": "string"}}},
                },
                204: {"description": "The end was told already."},
                **problems(
                    s400="`Last-Event-ID` is none of an event sent here.",
                    s401="The api key is missing or wrong.",
                    s404="No such job.",
                    s410="The job has ended, and its result has expired.",
                    s503="The queue cannot be reached.",
                ),
            },
        )  # fmt: skip

    async def events(self, request: Request) -> Response:
        """Follow one job. Raises: HttpError (404, 410), InvalidJob, BrokerUnavailable."""
        job_id = (await self._access.job(request)).job_id
        last_id = request.headers.get(LAST_EVENT_ID, "")
        if last_id == END_ID:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        told = Mark.from_id(last_id) if last_id else Mark()
        return StreamingResponse(
            self.stream(job_id, told), headers=_HEADERS, media_type=_MEDIA_TYPE
        )

    async def stream(self, job_id: JobId, told: Mark) -> AsyncGenerator[bytes]:
        """To its end; one that ends before, for whatever reason, is to be asked for again."""
        yield _RETRY
        events = JobEvents(told)
        async with aclosing(self._waits.watch(job_id)) as sights:
            try:
                async for sight in sights:
                    for event in (_SILENCE,) if sight is None else events.of(sight):
                        yield event
                    if sight and sight.view.state.is_terminal:
                        make = partial(end_event, sight.view)
                        yield await self._rendering.of([sight.view], make)
            except PrebleError as error:
                yield f": {error}\n\n".encode()


def _last_event_id_parameter() -> Json:
    return {
        "name": LAST_EVENT_ID, "in": "header", "required": False, "schema": {"type": "string"},
        "description": "The id of the last event that was received.",
    }  # fmt: skip

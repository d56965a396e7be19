"""`/v1/responses`: responses that are jobs, so that they survive and any api process knows them."""

from functools import partial
from http import HTTPStatus
from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response as HttpResponse
from starlette.responses import StreamingResponse

from preble.broker import Broker
from preble.clock import unix_s
from preble.errors import InvalidJob
from preble.messages import JobId, JobView
from preble_api.errors import HttpError
from preble_api.openai.asked import Asked, Echo
from preble_api.openai.desk import Desk
from preble_api.openai.endpoints import ENDPOINTS
from preble_api.openai.response_events import BEFORE_TEXT, ResponseEvents
from preble_api.openai.response_operations import (
    CANCEL,
    CREATE,
    DELETE,
    RETRIEVE,
    RetrieveQuery,
)
from preble_api.openai.response_schemas import ResponseDeleted
from preble_api.openai.response_stream import Pieces, response_stream
from preble_api.openai.responses import (
    RESPONSES_PATH,
    job_id_of,
    response_id_of,
    response_of,
    unfinished,
)
from preble_api.openai.resuming import JobLog, cut_as_told, require_same_text
from preble_api.openai.sse import MEDIA_TYPE, STREAM_HEADERS
from preble_api.parsing import parse_query
from preble_api.prefer import Preference, ended_within, job_headers, preference_of
from preble_api.principal import principal_of
from preble_api.rendering import Rendering
from preble_api.results import result_of
from preble_api.submitting import JSON
from preble_api.waits import Waits

_ASK_AGAIN: Final = {"retry-after": "1"}

_decode_echo: Final = msgspec.msgpack.Decoder(Echo).decode


class ResponseRoutes:
    """The routes of responses.

    Args:
        broker: Where they are.
        desk: Takes new ones.
        waits: Waits for their jobs.
        rendering: Makes answers.
    """

    def __init__(self, broker: Broker, desk: Desk, waits: Waits, rendering: Rendering) -> None:
        self._broker = broker
        self._desk = desk
        self._waits = waits
        self._rendering = rendering

    def add_to(self, app: FastAPI) -> None:
        """Declare the routes."""
        one = RESPONSES_PATH + "/{response_id}"
        app.add_api_route(RESPONSES_PATH, self.create, methods=["POST"], **CREATE)
        app.add_api_route(one, self.retrieve, methods=["GET"], **RETRIEVE)
        app.add_api_route(one, self.delete, methods=["DELETE"], **DELETE)
        app.add_api_route(one + "/cancel", self.cancel, methods=["POST"], **CANCEL)

    async def create(self, request: Request) -> HttpResponse:
        """Answer an input. Raises: HttpError, JobRejected, BrokerUnavailable."""
        taken = await self._desk.take(request, ENDPOINTS[RESPONSES_PATH])
        [job_id] = taken.job_ids
        echo = await self._kept(job_id, taken.asked)
        if taken.asked.is_streamed:
            return self._stream(job_id, echo, cancel_if_gone=taken.cancel_if_gone)
        if echo.is_background:
            return await self._shown(echo, job_id, await self._broker.view(job_id))
        return await self._waited_for(request, job_id, echo, cancel_if_gone=taken.cancel_if_gone)

    async def retrieve(self, request: Request) -> HttpResponse:
        """A response as it stands, or its stream. Raises: HttpError (404), BrokerUnavailable."""
        query = parse_query(request.query_params.multi_items(), RetrieveQuery)
        job_id, echo, view = await self._found(request)
        if query.stream:
            return await self._stream_again(view, echo, query.starting_after)
        if query.starting_after >= 0:
            raise InvalidJob("starting_after", "goes with `stream=true`")
        preference = preference_of(request)
        if preference.wait_s and not view.state.is_terminal:
            [view] = await self._ended(request, job_id, preference) or [view]
        return await self._shown(echo, job_id, view, preference.headers)

    async def cancel(self, request: Request) -> HttpResponse:
        """End a response; again, show it. Raises: HttpError (404), BrokerUnavailable."""
        job_id, echo, view = await self._found(request)
        if not view.state.is_terminal:
            await self._broker.cancel([job_id])
            view = await self._broker.view(job_id) or view
        return await self._shown(echo, job_id, view)

    async def delete(self, request: Request) -> HttpResponse:
        """Forget a response, and end it. Raises: HttpError (404), BrokerUnavailable."""
        job_id, _, _ = await self._found(request)
        await self._broker.cancel([job_id])
        await self._broker.notes.drop(job_id)
        deleted = ResponseDeleted(response_id_of(job_id))
        return HttpResponse(msgspec.json.encode(deleted), media_type=JSON)

    async def _kept(self, job_id: JobId, asked: Asked) -> Echo:
        """What the response repeats; of a request that comes again, what it repeated first."""
        echo = msgspec.structs.replace(asked.echo, created_at_s=unix_s())
        if not echo.is_stored:
            return echo
        kept = await self._broker.notes.keep(job_id, msgspec.msgpack.encode(echo))
        return _decode_echo(kept) if kept else echo

    async def _found(self, request: Request) -> tuple[JobId, Echo, JobView]:
        """The response of a path. Raises: HttpError (404) if this client has no such one."""
        job_id = job_id_of(request.path_params["response_id"])
        if job_id is None or not self._desk.ids.may_be(job_id):
            raise _unknown()
        note = await self._broker.notes.read(job_id)
        view = await self._broker.view(job_id)
        if (
            note is None
            or view is None
            or not principal_of(request.scope).may_see(view.spec.tenant)
        ):
            raise _unknown()
        return job_id, _decode_echo(note), view

    async def _waited_for(
        self, request: Request, job_id: JobId, echo: Echo, *, cancel_if_gone: bool
    ) -> HttpResponse:
        """The response once it has ended, or as it stands when that takes too long."""
        preference = preference_of(request)
        views = await self._ended(request, job_id, preference, cancel_if_gone=cancel_if_gone)
        if views is None:
            headers = {**preference.headers, "location": _path_of(job_id)}
            view = await self._broker.view(job_id)
            return await self._shown(echo, job_id, view, headers, HTTPStatus.ACCEPTED)
        [view] = views
        result_of(view)
        return await self._shown(echo, job_id, view, preference.headers)

    async def _ended(
        self, request: Request, job_id: JobId, preference: Preference, *,
        cancel_if_gone: bool = False,
    ) -> list[JobView] | None:  # fmt: skip
        return await ended_within(
            self._waits, [job_id], preference.bound_s, is_gone=request.is_disconnected,
            cancel_if_gone=cancel_if_gone,
        )  # fmt: skip

    def _stream(self, job_id: JobId, echo: Echo, *, cancel_if_gone: bool) -> HttpResponse:
        pieces = self._waits.pieces(job_id, cancel_if_gone=cancel_if_gone)
        return self._streamed(job_id, echo, pieces)

    async def _stream_again(self, view: JobView, echo: Echo, after: int) -> HttpResponse:
        """The events after a number. Raises: HttpError (409) if the text before it has changed."""
        job_id, pieces = view.job_id, self._waits.pieces(view.job_id)
        if view.spec.is_logged:
            if after > BEFORE_TEXT:
                await require_same_text(JobLog(self._broker, job_id), view, after - BEFORE_TEXT)
            pieces = cut_as_told(pieces, JobLog(self._broker, job_id))
        return self._streamed(job_id, echo, pieces, after)

    def _streamed(self, job_id: JobId, echo: Echo, pieces: Pieces, after: int = -1) -> HttpResponse:
        events = ResponseEvents(echo, job_id, self._rendering.token_texts, after=after)
        stream = response_stream(pieces, events, self._rendering)
        headers = {**job_headers([job_id]), **STREAM_HEADERS}
        return StreamingResponse(stream, headers=headers, media_type=MEDIA_TYPE)

    async def _shown(
        self, echo: Echo, job_id: JobId, view: JobView | None,
        more: dict[str, str] | None = None, status: HTTPStatus = HTTPStatus.OK,
    ) -> HttpResponse:  # fmt: skip
        """The response as it stands; new ones may be unknown to a replica that was promoted."""
        body = await self._rendering.of([view], partial(self._body, echo, job_id, view))
        is_over = view is not None and view.state.is_terminal
        headers = {**job_headers([job_id]), **({} if is_over else _ASK_AGAIN), **(more or {})}
        return HttpResponse(body, status, headers, media_type=JSON)

    def _body(self, echo: Echo, job_id: JobId, view: JobView | None) -> bytes:
        if view is None:
            return msgspec.json.encode(unfinished(echo, job_id, "queued"))
        return msgspec.json.encode(response_of(echo, view, self._rendering.token_texts))


def _path_of(job_id: JobId) -> str:
    return f"{RESPONSES_PATH}/{response_id_of(job_id)}"


def _unknown() -> HttpError:
    message = "response_id: no such response; it may have expired, or was not stored"
    return HttpError(HTTPStatus.NOT_FOUND, "response_not_found", message, param="response_id")

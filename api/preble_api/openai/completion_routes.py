"""`POST /v1/chat/completions` and `POST /v1/completions`, answered by jobs of the queue."""

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from preble.clock import unix_s
from preble.messages import JobView
from preble_api.openai.chat import CHAT_PATH, ChatChunks, ChatReply, ChatRequest
from preble_api.openai.chunks import Chunks
from preble_api.openai.completions import (
    COMPLETIONS_PATH,
    CompletionChunks,
    CompletionReply,
    CompletionRequest,
)
from preble_api.openai.desk import Desk, Taken
from preble_api.openai.endpoints import ENDPOINTS, Endpoint
from preble_api.openai.fields import SharedFields
from preble_api.openai.operations import COMPLETES, PROBLEMS, described, streamed
from preble_api.openai.results import id_of
from preble_api.openai.sse import MEDIA_TYPE, STREAM_HEADERS
from preble_api.openai.streams import CompletionStream
from preble_api.openapi import response_of
from preble_api.prefer import JOB_HEADER, deferred, ended_within, job_headers, preference_of
from preble_api.rendering import Rendering
from preble_api.schemas import JobAccepted, JobListAccepted
from preble_api.submitting import JSON
from preble_api.waits import Waits


class _Dialect(NamedTuple):
    """What tells the two routes apart."""

    path: str
    summary: str
    request: type[SharedFields]
    reply: type[msgspec.Struct]
    chunks: type[Chunks]
    id_prefix: str


_CHAT: Final = _Dialect(
    CHAT_PATH, "Answer a chat, in OpenAI's format", ChatRequest, ChatReply, ChatChunks, "chatcmpl-"
)
_COMPLETIONS: Final = _Dialect(
    COMPLETIONS_PATH, "Complete prompts, in OpenAI's format", CompletionRequest, CompletionReply,
    CompletionChunks, "cmpl-",
)  # fmt: skip


class CompletionRoutes:
    """Both routes.

    Args:
        desk: Takes requests.
        waits: Waits for jobs.
        rendering: Makes answers.
    """

    def __init__(self, desk: Desk, waits: Waits, rendering: Rendering) -> None:
        self._desk = desk
        self._waits = waits
        self._rendering = rendering

    def add_to(self, app: FastAPI) -> None:
        """Declare the routes."""
        for dialect, handler in ((_CHAT, self.chat), (_COMPLETIONS, self.complete)):
            answer = response_of(
                "The answer.", dialect.reply, **{JOB_HEADER: "Ids of the jobs, by choice."}
            )
            later = response_of("Not ended yet, as preferred.", JobAccepted, JobListAccepted)
            app.add_api_route(
                dialect.path, handler, methods=["POST"], summary=dialect.summary,
                description=COMPLETES,
                openapi_extra=described(dialect.request),
                responses={200: streamed(answer), 202: later, **PROBLEMS},
            )  # fmt: skip

    async def chat(self, request: Request) -> Response:
        """Answer a chat. Raises: HttpError, JobRejected, BrokerUnavailable."""
        return await self._answer(request, _CHAT)

    async def complete(self, request: Request) -> Response:
        """Complete prompts. Raises: HttpError, JobRejected, BrokerUnavailable."""
        return await self._answer(request, _COMPLETIONS)

    async def _answer(self, request: Request, dialect: _Dialect) -> Response:
        endpoint = ENDPOINTS[dialect.path]
        taken = await self._desk.take(request, endpoint)
        if taken.asked.is_streamed:
            return self._stream(dialect, taken)
        preference = preference_of(request)
        views = await ended_within(
            self._waits, taken.job_ids, preference.bound_s, is_gone=request.is_disconnected,
            cancel_if_gone=taken.cancel_if_gone,
        )  # fmt: skip
        if views is None:
            return deferred(preference, taken.job_ids)
        headers = {**job_headers(taken.job_ids), **preference.headers}
        body = await self._rendering.of(views, partial(self._body, endpoint, taken, views))
        return Response(body, headers=headers, media_type=JSON)

    def _body(self, endpoint: Endpoint, taken: Taken, views: Sequence[JobView]) -> bytes:
        token_texts = self._rendering.token_texts
        return msgspec.json.encode(endpoint.reply(taken.asked, *views, token_texts=token_texts))

    def _stream(self, dialect: _Dialect, taken: Taken) -> Response:
        answer_id = id_of(dialect.id_prefix, taken.job_ids[0])
        token_texts = self._rendering.token_texts
        chunks = dialect.chunks(taken.asked, answer_id, int(unix_s()), token_texts)
        stream = CompletionStream(self._waits, taken, chunks, self._rendering)
        headers = {**job_headers(taken.job_ids), **STREAM_HEADERS}
        return StreamingResponse(stream.events(), headers=headers, media_type=MEDIA_TYPE)

"""SGLang's `POST /generate` on the durable queue: submit, wait for the end, answer.

The prompt becomes a job like any other. If the client leaves, or this api is stopped, the
job still runs to its end and is found under the id in the header `x-preble-job`.

With `stream` the answer is an event stream of SGLang's form, whose events repeat the text
from its beginning. In silence come comments, which clients skip and proxies take as a sign of
life.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from preble.errors import InvalidJob, PrebleError
from preble.messages import JobResult, JobView, Submission
from preble.metrics import ApiMetrics
from preble_api.admission import Admission
from preble_api.disconnects import cancel_on_disconnect_parameter, cancels_if_gone
from preble_api.errors import refusal
from preble_api.generate_parsing import QUEUE_HEADERS, QueueChoice, job_of, parse_generate, queue_of
from preble_api.generate_schemas import (
    FinishReason,
    GenerateReply,
    GenerateRequest,
    MetaInfo,
    StreamError,
    StreamErrorEvent,
)
from preble_api.idempotency import under_key
from preble_api.intake import Intake
from preble_api.openapi import (
    body_of,
    header_parameters,
    idempotency_key_parameter,
    prefer_parameter,
    problems,
    response_of,
)
from preble_api.prefer import JOB_HEADER, deferred, ended_within, preference_of
from preble_api.principal import principal_of
from preble_api.results import result_of
from preble_api.schemas import JobAccepted, JobRequest
from preble_api.submitting import JSON, admit_request, require_json
from preble_api.transcript import Piece
from preble_api.waits import Waits

GENERATE_PATH: Final = "/generate"

_COMMENT: Final = b": waiting\n\n"
_DONE: Final = b"data: [DONE]\n\n"
_STREAM_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}

_encode: Final = msgspec.json.Encoder().encode


class GenerateRoutes:
    """`POST /generate`.

    Args:
        intake: Checks and tokenizes.
        admission: Writes to the queue.
        waits: Waits for jobs to end.
        metrics: Where jobs are counted.
    """

    def __init__(
        self, intake: Intake, admission: Admission, waits: Waits, metrics: ApiMetrics
    ) -> None:
        self._intake = intake
        self._admission = admission
        self._waits = waits
        self._metrics = metrics

    def add_to(self, app: FastAPI) -> None:
        """Declare the route."""
        app.add_api_route(
            GENERATE_PATH, self.generate, methods=["POST"],
            summary="Complete one prompt and wait for it, in SGLang's format",
            description=(
                "The prompt becomes a job of the queue; it goes on if the client leaves, and is "
                f"found at `/v1/jobs` under the id in the header `{JOB_HEADER}`. With `stream` "
                "the answer is `text/event-stream`: events with all there is of it, as it grows, "
                "then `[DONE]`."
            ),
            openapi_extra={
                "requestBody": body_of(GenerateRequest),
                "parameters": [
                    *header_parameters(QueueChoice, QUEUE_HEADERS), idempotency_key_parameter(),
                    cancel_on_disconnect_parameter(), prefer_parameter(),
                ],
            },
            responses={
                200: response_of("The answer.", GenerateReply, **{JOB_HEADER: "Id of the job."}),
                202: response_of("Not ended yet, as preferred.", JobAccepted),
                **problems(
                    s400="A field is wrong or not offered, or the engine refuses the prompt.",
                    s401="The api key is missing or wrong.",
                    s413="The body is too large.",
                    s415="The body is not declared as JSON.",
                    s422="The `Idempotency-Key` was used before, for another request.",
                    s429="The queue is full; come back after `Retry-After`.",
                    s409="The job was cancelled, or its deadline has passed.",
                    s500="The job failed; the message begins with its code.",
                    s503="The queue cannot be reached, or this api is being stopped.",
                    s504="The job has not ended yet; it goes on.",
                ),
            },
        )  # fmt: skip

    async def generate(self, request: Request) -> Response:
        """Complete one prompt. Raises: HttpError, JobRejected, BrokerUnavailable."""
        try:
            require_json(request, "prompt")
            asked = parse_generate(await request.body())
            cancel_if_gone = cancels_if_gone(request)
            job = job_of(asked, queue_of(request.headers))
            submission = await self._submit(request, job, is_streamed=bool(asked.stream))
        except PrebleError as error:
            self._metrics.jobs_rejected.labels(refusal(error).code).inc()
            raise
        job_id = submission.job_id
        headers = {JOB_HEADER: job_id}
        if asked.stream:
            return StreamingResponse(
                self._events(submission, asked.rid, cancel_if_gone=cancel_if_gone),
                headers=headers | _STREAM_HEADERS,
                media_type="text/event-stream",
            )
        preference = preference_of(request)
        views = await ended_within(
            self._waits, [job_id], preference.bound_s, is_gone=request.is_disconnected,
            cancel_if_gone=cancel_if_gone,
        )  # fmt: skip
        if views is None:
            return deferred(preference, [job_id])
        [view] = views
        body = _encode(_reply(view, asked.rid))
        return Response(body, headers=headers | preference.headers, media_type=JSON)

    async def _submit(self, request: Request, job: JobRequest, *, is_streamed: bool) -> Submission:
        try:
            [submission] = await under_key(
                request, [await self._intake.one(job, principal_of(request.scope))]
            )
        except InvalidJob as error:
            raise _in_our_names(error) from None
        submission = self._waits.followed(submission, is_streamed=is_streamed)
        await admit_request(request, self._admission, self._metrics, [submission])
        return submission

    async def _events(
        self, submission: Submission, rid: str | None, *, cancel_if_gone: bool
    ) -> AsyncGenerator[bytes]:
        said = _Said(submission, rid)
        pieces = self._waits.pieces(submission.job_id, cancel_if_gone=cancel_if_gone)
        async with aclosing(pieces):
            try:
                async for piece in pieces:
                    yield _COMMENT if piece is None else _event(said.answer(piece))
            except PrebleError as error:
                yield _event(_stream_error(error))
            yield _DONE


class _Said:
    """What a stream has said of a job, which each event says again."""

    def __init__(self, submission: Submission, rid: str | None) -> None:
        self._prompt_tokens = submission.spec.prompt_tokens
        self._rid = rid
        self._id = rid or submission.job_id
        self._text = ""
        self._output_ids: tuple[int, ...] = ()

    def answer(self, piece: Piece | JobView) -> GenerateReply:
        """The next event. Raises: HttpError if the job failed."""
        if isinstance(piece, JobView):
            return _reply(piece, self._rid)
        self._text += piece.text
        self._output_ids += piece.output_ids
        known = MetaInfo(self._id, None, self._prompt_tokens, len(self._output_ids), 0)
        return GenerateReply(self._text, self._output_ids, known)


def _in_our_names(error: InvalidJob) -> InvalidJob:
    """The same, of the field as it is called here."""
    return type(error)("text", str(error)) if error.field == "prompt" else error


def _reply(view: JobView, rid: str | None) -> GenerateReply:
    """The answer of a job that has ended. Raises: HttpError if it failed."""
    result = result_of(view)
    meta_info = MetaInfo(
        id=rid or view.job_id,
        finish_reason=_finish_reason(result),
        prompt_tokens=result.prompt_tokens,
        completion_tokens=result.completion_tokens,
        cached_tokens=result.cached_tokens,
        e2e_latency=(view.ended_at_s or view.submitted_at_s) - view.submitted_at_s,
    )
    return GenerateReply(result.text, result.output_ids, meta_info)


def _finish_reason(result: JobResult) -> FinishReason:
    """In SGLang's form; what matched is not known here."""
    length = result.completion_tokens if result.finish_reason == "length" else None
    return FinishReason(result.finish_reason, length)


def _stream_error(error: PrebleError) -> StreamErrorEvent:
    """What a stream says of it: its status is long out."""
    problem = refusal(error)
    is_ours = problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return StreamErrorEvent(
        StreamError(
            message=str(problem),
            type="server_error" if is_ours else "invalid_request_error",
            code=problem.status,
            retryable=problem.retry_after_s is not None,
        )
    )


def _event(struct: msgspec.Struct) -> bytes:
    return b"data: " + _encode(struct) + b"\n\n"

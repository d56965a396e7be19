"""SGLang's `POST /generate` on the durable queue: submit, wait for the end, answer.

The prompt becomes a job like any other. If the client leaves, or this api is stopped, the
job still runs to its end and is found under the id in the header `x-preble-job`.

With `stream` the answer is an event stream of SGLang's form, whose events repeat the text
from its beginning. Tokens do not travel through the queue yet, so one event carries the whole
answer; before it come comments, which clients skip and proxies take as a sign of life.
"""

import asyncio
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from preble.errors import InvalidJob, PrebleError
from preble.messages import JobFailure, JobId, JobResult, JobView, Submission
from preble.metrics import ApiMetrics
from preble_api.admission import Admission
from preble_api.errors import HttpError, refusal
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
    problems,
    response_of,
)
from preble_api.schemas import JobRequest
from preble_api.submitting import JSON, admit_counted, require_json
from preble_api.waits import Waits

GENERATE_PATH: Final = "/generate"
JOB_HEADER: Final = "x-preble-job"
KEEP_ALIVE_S: Final = 10.0
"""Pause between two comments of a stream; proxies cut what is silent for a minute."""

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
                "the answer is `text/event-stream`: one event with all of it, then `[DONE]`."
            ),
            openapi_extra={
                "requestBody": body_of(GenerateRequest),
                "parameters": [
                    *header_parameters(QueueChoice, QUEUE_HEADERS), idempotency_key_parameter(),
                ],
            },
            responses={
                200: response_of("The answer.", GenerateReply, **{JOB_HEADER: "Id of the job."}),
                **problems(
                    s400="A field is wrong or not offered, or the engine refuses the prompt.",
                    s401="The api key is missing or wrong.",
                    s413="The body is too large.",
                    s415="The body is not declared as JSON.",
                    s422="The `Idempotency-Key` was used before, for another request.",
                    s429="The queue is full; come back after `Retry-After`.",
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
            submission = await self._submit(request, job_of(asked, queue_of(request.headers)))
        except PrebleError as error:
            self._metrics.jobs_rejected.labels(refusal(error).code).inc()
            raise
        job_id = submission.job_id
        headers = {JOB_HEADER: job_id}
        if asked.stream:
            return StreamingResponse(
                self._events(job_id, asked.rid),
                headers=headers | _STREAM_HEADERS,
                media_type="text/event-stream",
            )
        view = await self._waits.ended(job_id, is_gone=request.is_disconnected)
        return Response(_encode(_reply(view, asked.rid)), headers=headers, media_type=JSON)

    async def _submit(self, request: Request, job: JobRequest) -> Submission:
        try:
            [submission] = await under_key(request, [await self._intake.one(job)])
        except InvalidJob as error:
            raise _in_our_names(error) from None
        await admit_counted(self._admission, self._metrics, [submission])
        return submission

    async def _events(self, job_id: JobId, rid: str | None) -> AsyncGenerator[bytes, None]:
        waiting = asyncio.ensure_future(self._waits.ended(job_id))
        try:
            while not (await asyncio.wait({waiting}, timeout=KEEP_ALIVE_S))[0]:
                yield _COMMENT
            yield _event(_outcome(waiting, rid))
            yield _DONE
        finally:
            waiting.cancel()


def _in_our_names(error: InvalidJob) -> InvalidJob:
    """The same, of the field as it is called here."""
    return type(error)("text", str(error)) if error.field == "prompt" else error


def _reply(view: JobView, rid: str | None) -> GenerateReply:
    """The answer of a job that has ended. Raises: HttpError if it failed."""
    if view.result is None:
        raise _failed(view.failure or JobFailure("result_lost", "the job's result has expired"))
    result = view.result
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


def _failed(failure: JobFailure) -> HttpError:
    """A refusal of the engine is the request's fault, all else is ours."""
    if failure.code == "engine_refused":
        return HttpError(HTTPStatus.BAD_REQUEST, failure.code, failure.message)
    message = f"{failure.code}: {failure.message}"
    return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, failure.code, message)


def _outcome(waiting: asyncio.Future[JobView], rid: str | None) -> msgspec.Struct:
    """What the one event of a stream says: the status of a stream is long out."""
    try:
        return _reply(waiting.result(), rid)
    except PrebleError as error:
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

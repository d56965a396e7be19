"""Submit jobs and ask how they stand."""

from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from preble.broker import Broker
from preble.errors import PrebleError
from preble.messages import JobView, Submission
from preble.metrics import ApiMetrics
from preble_api.admission import Admission
from preble_api.deadlines import with_deadline
from preble_api.errors import HttpError, refusal
from preble_api.idempotency import under_key, under_own_keys
from preble_api.intake import Intake
from preble_api.job_access import JobAccess
from preble_api.openapi import (
    body_of,
    cancel_after_parameter,
    idempotency_key_parameter,
    job_id_parameter,
    prefer_parameter,
    problems,
    queue_parameters,
    response_of,
)
from preble_api.parsing import parse
from preble_api.prefer import ended_within, preference_of
from preble_api.principal import principal_of
from preble_api.queue_headers import with_queue
from preble_api.rendering import Rendering
from preble_api.schemas import (
    JobAccepted,
    JobListAccepted,
    JobListRequest,
    JobRequest,
    JobStatus,
)
from preble_api.submitting import JSON, admit_request, require_json
from preble_api.views import JOBS_PATH, links_of, status_of
from preble_api.waits import Waits

_ASK_AGAIN: Final = {"retry-after": "1"}

_encode: Final = msgspec.json.Encoder().encode


class JobRoutes:
    """`POST /v1/jobs`, `GET /v1/jobs/{job_id}`, and POST to its `/cancel` and `/retry`."""

    def __init__(
        self, broker: Broker, intake: Intake, admission: Admission, metrics: ApiMetrics, *,
        waits: Waits, rendering: Rendering, result_ttl_s: float,
    ) -> None:  # fmt: skip
        self._broker = broker
        self._waits = waits
        self._rendering = rendering
        self._access = JobAccess(broker, intake.ids, result_ttl_s=result_ttl_s)
        self._intake = intake
        self._admission = admission
        self._metrics = metrics

    def add_to(self, app: FastAPI) -> None:
        """Declare the routes."""
        app.add_api_route(
            JOBS_PATH, self.submit, methods=["POST"], status_code=HTTPStatus.ACCEPTED,
            summary="Submit one job, or a list of up to 1,000",
            description=(
                "Answered once the jobs are in the queue, never before. Those of priority `batch` "
                "are put in the order of their prefixes, the others stay in the order given."
            ),
            openapi_extra={
                "requestBody": body_of(JobRequest, JobListRequest, array_of=JobRequest),
                "parameters": [
                    *queue_parameters(), cancel_after_parameter(), idempotency_key_parameter(),
                ],
            },
            responses={
                202: response_of(
                    "Written to the queue. Of a list all jobs are, or none.",
                    JobAccepted, JobListAccepted, Location="Where a single job is found.",
                ),
                **problems(
                    s400="A field is wrong; `error.param` names it.",
                    s401="The api key is missing or wrong.",
                    s404="The model is not the one served here.",
                    s413="The body is too large.",
                    s415="The body is not declared as JSON.",
                    s422="The `Idempotency-Key` was used before, for another request.",
                    s429="The queue is full; come back after `Retry-After`.",
                    s503="The queue cannot be reached.",
                ),
            },
        )  # fmt: skip
        app.add_api_route(
            JOBS_PATH + "/{job_id}", self.show, methods=["GET"],
            summary="How a job stands, and its result",
            description="Ask again after `Retry-After` until the job has ended.",
            openapi_extra={"parameters": [job_id_parameter(), prefer_parameter()]},
            responses={
                200: response_of(
                    "The job.", JobStatus, **{"Retry-After": "Until the job has ended."}
                ),
                **problems(
                    s401="The api key is missing or wrong.",
                    s404="No such job.",
                    s410="The job has ended, and its result has expired.",
                    s503="The queue cannot be reached.",
                ),
            },
        )  # fmt: skip

        app.add_api_route(
            JOBS_PATH + "/{job_id}/cancel", self.cancel, methods=["POST"],
            summary="End a job that nobody needs any more",
            description=(
                "Wherever it stands; one that runs is stopped within a second. A job that has "
                "ended stays as it is, so that cancelling twice does no harm."
            ),
            openapi_extra={"parameters": [job_id_parameter()]},
            responses={
                200: response_of("The job, which has ended.", JobStatus),
                **problems(
                    s401="The api key is missing or wrong.",
                    s404="No such job.",
                    s410="The job has ended, and its result has expired.",
                    s503="The queue cannot be reached.",
                ),
            },
        )  # fmt: skip

        app.add_api_route(
            JOBS_PATH + "/{job_id}/retry", self.retry, methods=["POST"],
            summary="Run a failed job again",
            description=(
                "The same job waits again, as if just submitted: at the end of its queue, with "
                "attempts and deadline begun anew. One that has not ended stays as it is, so that "
                "retrying twice does no harm."
            ),
            openapi_extra={"parameters": [job_id_parameter()]},
            responses={
                200: response_of("The job, which runs or will run.", JobStatus),
                **problems(
                    s401="The api key is missing or wrong.",
                    s404="No such job.",
                    s409="The job ended and did not fail, or its prompt is no longer kept.",
                    s410="The job has ended, and its result has expired.",
                    s429="The queue is full; come back after `Retry-After`.",
                    s503="The queue cannot be reached.",
                ),
            },
        )  # fmt: skip

    async def submit(self, request: Request) -> Response:
        """Take the jobs of a body: 202 once they are in the queue, never before."""
        try:
            return await self._submit(request)
        except PrebleError as error:
            self._metrics.jobs_rejected.labels(refusal(error).code).inc()
            raise

    async def show(self, request: Request) -> Response:
        """One job. Raises: HttpError (404, 410), BrokerUnavailable."""
        view = await self._access.job(request)
        preference = preference_of(request)
        if preference.wait_s and not view.state.is_terminal:
            ended = await ended_within(
                self._waits, [view.job_id], preference.wait_s, is_gone=request.is_disconnected
            )
            view = ended[0] if ended else await self._access.job(request)
        return await self._shown(view, preference.headers if preference.wait_s else None)

    async def cancel(self, request: Request) -> Response:
        """End one job. Raises: HttpError (404, 410), BrokerUnavailable."""
        await self._broker.cancel([await self._access.require(request)])
        return await self._shown(await self._access.job(request))

    async def retry(self, request: Request) -> Response:
        """Let one failed job run again.

        Raises: HttpError (404, 409, 410), PromptDropped, QueueFull, BrokerUnavailable.
        """
        [reply] = await self._broker.retry([await self._access.require(request)])
        if isinstance(reply, PrebleError):
            raise reply
        if reply is not None and reply.is_terminal:
            message = f"the job is {reply}; only one that failed can run again"
            raise HttpError(HTTPStatus.CONFLICT, "job_not_failed", message)
        return await self._shown(await self._access.job(request))

    async def _shown(self, view: JobView, more: dict[str, str] | None = None) -> Response:
        headers = {**({} if view.state.is_terminal else _ASK_AGAIN), **(more or {})}
        body = await self._rendering.of([view], partial(_encoded, view))
        return Response(body, headers=headers, media_type=JSON)

    async def _submit(self, request: Request) -> Response:
        require_json(request, "jobs")
        principal = principal_of(request.scope)
        parsed = parse(await request.body())
        if isinstance(parsed, JobRequest):
            [job] = with_deadline(request, with_queue(request, [parsed]))
            made = [await self._intake.one(job, principal)]
            [submission] = await self._named(request, [job], made)
            await admit_request(request, self._admission, self._metrics, [submission])
            return _accepted_one(submission)
        jobs = with_deadline(request, with_queue(request, parsed))
        made = await self._intake.many(jobs, principal)
        submissions = await self._named(request, jobs, made)
        await admit_request(request, self._admission, self._metrics, submissions)
        return _accepted_list(submissions)

    async def _named(
        self, request: Request, jobs: Sequence[JobRequest], made: Sequence[Submission]
    ) -> Sequence[Submission]:
        """Under the ids that the keys of the request and of its jobs give them."""
        ids = self._intake.ids
        return under_own_keys(jobs, await under_key(request, made, ids), ids)


def _encoded(view: JobView) -> bytes:
    return _encode(status_of(view))


def _accepted_one(submission: Submission) -> Response:
    accepted = _accepted(submission)
    headers = {"location": accepted.urls.self}
    return Response(_encode(accepted), HTTPStatus.ACCEPTED, headers, media_type=JSON)


def _accepted_list(submissions: Sequence[Submission]) -> Response:
    accepted = JobListAccepted([_accepted(each) for each in submissions])
    return Response(_encode(accepted), HTTPStatus.ACCEPTED, media_type=JSON)


def _accepted(submission: Submission) -> JobAccepted:
    return JobAccepted(submission.job_id, links_of(submission.job_id))

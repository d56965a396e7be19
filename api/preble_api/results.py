"""What a job that has ended means to whoever waits for it: its result, or an error."""

from http import HTTPStatus
from typing import Final

from preble.broker.answers import CANCELLED, DEADLINE_PASSED
from preble.messages import JobFailure, JobResult, JobView
from preble_api.errors import HttpError

ENGINE_REFUSED: Final = "engine_refused"
"""Code of the failure that is the request's own fault."""

RESULT_LOST: Final = JobFailure("result_lost", "the job's result has expired")

_STATUS: Final = {
    ENGINE_REFUSED: HTTPStatus.BAD_REQUEST,
    CANCELLED.code: HTTPStatus.CONFLICT,
    DEADLINE_PASSED.code: HTTPStatus.CONFLICT,
}


def result_of(view: JobView) -> JobResult:
    """The result of a job that has ended. Raises: HttpError if it has none."""
    if view.result is None:
        raise failed(view.failure or RESULT_LOST)
    return view.result


def failed(failure: JobFailure) -> HttpError:
    """A refusal of the engine is the request's fault; an end that a client asked for is none."""
    status = _STATUS.get(failure.code, HTTPStatus.INTERNAL_SERVER_ERROR)
    is_refusal = failure.code == ENGINE_REFUSED
    message = failure.message if is_refusal else f"{failure.code}: {failure.message}"
    return HttpError(status, failure.code, message)

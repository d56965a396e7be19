"""Errors as answers: one form, problem+json (RFC 9457) with OpenAI's `error` object inside.

Clients of either kind then read code, type and the field that is wrong. `edge.py` is the
only caller: whatever goes wrong in a request passes there.
"""

import logging
import math
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from preble.broker.bounds import LONGEST_RETRY_AFTER_S
from preble.errors import (
    BrokerError,
    InvalidJob,
    JobRejected,
    PrebleError,
    PromptDropped,
    PromptTooLong,
    QueueFull,
)
from preble_api.schemas import ErrorDetail, Problem

MEDIA_TYPE: Final = "application/problem+json"

_BROKER_RETRY_AFTER_S: Final = 2.0

_log = logging.getLogger(__name__)


class HttpError(PrebleError):
    """An answer that is no success, with all that it says.

    Args:
        status: HTTP status, 4xx or 5xx.
        code: Short name for programs.
        message: For people.
        param: The field that is wrong.
        retry_after_s: Seconds after which trying again is sensible.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.headers = headers or {}


def refusal(error: Exception) -> HttpError:
    """Any error as the answer it becomes; a bug in Preble becomes a 500 that tells nothing."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, JobRejected):
        return _rejected(error)
    if isinstance(error, BrokerError):
        _log.warning("%s", error)  # it names hosts, which are no client's business
        return _unavailable()
    if isinstance(error, HTTPException):
        return _of_router(error)
    message = "something went wrong here; the request id names it in the log"
    return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", message)


def answer(error: HttpError, request_id: str) -> Response:
    """The error as a response."""
    status = error.status
    problem = Problem(
        type=f"urn:preble:error:{error.code}",
        title=status.phrase,
        status=status,
        detail=str(error),
        instance=f"urn:preble:request:{request_id}",
        error=error_detail(error),
    )
    return Response(msgspec.json.encode(problem), status, _headers(error), media_type=MEDIA_TYPE)


def error_detail(error: HttpError) -> ErrorDetail:
    """The error in OpenAI's form."""
    return ErrorDetail(str(error), _openai_type(error.status), error.param, error.code)


def _headers(error: HttpError) -> dict[str, str]:
    """Whether and when to try again; OpenAI's client would retry every 409 and 5xx."""
    headers = {**error.headers, "x-should-retry": "false"}
    if error.retry_after_s is not None:
        wait_s = min(max(1, math.ceil(error.retry_after_s)), LONGEST_RETRY_AFTER_S)
        headers |= {"x-should-retry": "true", "retry-after": str(wait_s)}
    return headers


def _rejected(error: JobRejected) -> HttpError:
    if isinstance(error, InvalidJob):
        return _invalid(error)
    if isinstance(error, QueueFull):
        return _full(error)
    if isinstance(error, PromptDropped):
        return HttpError(HTTPStatus.CONFLICT, "prompt_dropped", str(error))
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return HttpError(status, "idempotency_key_reused", str(error), param="Idempotency-Key")


def _invalid(error: InvalidJob) -> HttpError:
    code = "context_length_exceeded" if isinstance(error, PromptTooLong) else "invalid_value"
    message = f"{error.field}: {error}" if error.field else str(error)
    return HttpError(HTTPStatus.BAD_REQUEST, code, message, param=error.field or None)


def _full(error: QueueFull) -> HttpError:
    return HttpError(
        HTTPStatus.TOO_MANY_REQUESTS,
        "queue_full",
        str(error),
        retry_after_s=error.retry_after_s,
    )


def _unavailable() -> HttpError:
    return HttpError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "queue_unavailable",
        "the queue cannot be reached just now; nothing is lost that was accepted before",
        retry_after_s=_BROKER_RETRY_AFTER_S,
    )


def _of_router(error: HTTPException) -> HttpError:
    """What the router itself says: no such route, not this method."""
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "_")
    headers = dict(error.headers or {})
    return HttpError(status, code, status.description or status.phrase, headers=headers)


def _openai_type(status: HTTPStatus) -> str:
    if status is HTTPStatus.UNAUTHORIZED:
        return "authentication_error"
    if status is HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    is_ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return "server_error" if is_ours else "invalid_request_error"

"""Every code that an error may carry, in one table: what it means and what to do.

It is read by people, as `docs/reference/http.md`; a test compares it with the places that raise.
"""

from http import HTTPStatus
from typing import Final, NamedTuple

_BAD: Final = HTTPStatus.BAD_REQUEST
_MISSING: Final = HTTPStatus.NOT_FOUND
_CONFLICT: Final = HTTPStatus.CONFLICT
_BUSY: Final = HTTPStatus.TOO_MANY_REQUESTS
_OURS: Final = HTTPStatus.INTERNAL_SERVER_ERROR
_LARGE: Final = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class ErrorCode(NamedTuple):
    """One row: `error.code`, under which statuses it comes, and its meaning for a client."""

    code: str
    meaning: str
    statuses: tuple[HTTPStatus, ...]


REFUSALS: Final = (
    ErrorCode("invalid_json", "The body is no JSON; `error.message` says where.", (_BAD,)),
    ErrorCode("invalid_value", "A field or parameter is wrong; `error.param` names it.", (_BAD,)),
    ErrorCode(
        "unsupported_parameter",
        "A field of OpenAI's that is not offered here; `error.param` names it: leave it out.",
        (_BAD,),
    ),
    ErrorCode(
        "context_length_exceeded", "Prompt and output do not fit the model's context.", (_BAD,)
    ),
    ErrorCode("invalid_form", "An upload is not the form that `/v1/files` takes.", (_BAD,)),
    ErrorCode("invalid_http", "The request is not HTTP/1.1, or its head is too large.", (_BAD,)),
    ErrorCode(
        "invalid_api_key",
        "No key was sent, or one that is unknown, revoked or expired.",
        (HTTPStatus.UNAUTHORIZED,),
    ),
    ErrorCode("missing_scope", "The key lacks a scope; it is named.", (HTTPStatus.FORBIDDEN,)),
    ErrorCode("wrong_tenant", "The key acts for another tenant.", (HTTPStatus.FORBIDDEN,)),
    ErrorCode(
        "strange_page",
        "A web page of another origin asks an api that is open: make a key, and name the origin.",
        (HTTPStatus.FORBIDDEN,),
    ),
    ErrorCode("job_not_found", "There is no such job, or it is another tenant's.", (_MISSING,)),
    ErrorCode("response_not_found", "The same of a response.", (_MISSING,)),
    ErrorCode("file_not_found", "The same of a file.", (_MISSING,)),
    ErrorCode("batch_not_found", "The same of a batch.", (_MISSING,)),
    ErrorCode("instance_not_found", "No such instance is registered.", (_MISSING,)),
    ErrorCode("model_not_found", "The pool serves another model; it is named.", (_MISSING,)),
    ErrorCode("not_found", "There is no such route.", (_MISSING,)),
    ErrorCode(
        "method_not_allowed", "The route takes other methods.", (HTTPStatus.METHOD_NOT_ALLOWED,)
    ),
    ErrorCode("too_slow", "The request came too slowly.", (HTTPStatus.REQUEST_TIMEOUT,)),
    ErrorCode("upload_abandoned", "An upload stood still.", (HTTPStatus.REQUEST_TIMEOUT,)),
    ErrorCode("job_not_failed", "The job cannot be retried: it did not fail.", (_CONFLICT,)),
    ErrorCode("prompt_dropped", "The job cannot be retried: submit it again.", (_CONFLICT,)),
    ErrorCode(
        "stream_diverged",
        "A stream cannot go on: the job ran again, and says something else. Read its result.",
        (_CONFLICT, _OURS),
    ),
    ErrorCode("job_expired", "The job has ended, and its result is gone.", (HTTPStatus.GONE,)),
    ErrorCode(
        "body_too_large",
        "The body exceeds `PREBLE_MAX_BODY_BYTES`, or has too many values.",
        (_LARGE,),
    ),
    ErrorCode("file_too_large", "A file exceeds `PREBLE_MAX_FILE_BYTES`.", (_LARGE,)),
    ErrorCode("url_too_long", "The URL is too long.", (HTTPStatus.REQUEST_URI_TOO_LONG,)),
    ErrorCode(
        "unsupported_media_type",
        "The body is not declared as what it must be.",
        (HTTPStatus.UNSUPPORTED_MEDIA_TYPE,),
    ),
    ErrorCode(
        "range_not_satisfiable",
        "A file ends before the bytes that `Range` asks for.",
        (HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,),
    ),
    ErrorCode(
        "idempotency_key_reused",
        "The `Idempotency-Key` was used before, for another request.",
        (HTTPStatus.UNPROCESSABLE_ENTITY,),
    ),
    ErrorCode("queue_full", "The queue has reached a bound; `error.message` says which.", (_BUSY,)),
    ErrorCode("too_many_files", "The tenant must delete files first.", (_BUSY,)),
    ErrorCode("too_many_batches", "The tenant has as many batches as it may.", (_BUSY,)),
    ErrorCode("too_many_uploads", "This api takes no more files just now.", (_BUSY,)),
    ErrorCode("too_many_bytes", "Other bodies of the same tenant are being read.", (_BUSY,)),
    ErrorCode("too_many_unknown_keys", "Somebody tries many keys.", (_BUSY,)),
    ErrorCode(
        "too_many_headers",
        "The request has too many headers.",
        (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,),
    ),
    ErrorCode("internal_error", "A bug in Preble; the request id names it in the log.", (_OURS,)),
    ErrorCode("job_lost", "The job vanished from Redis while it was waited for.", (_OURS,)),
    ErrorCode("not_offered", "SGLang's route that is not offered.", (HTTPStatus.NOT_IMPLEMENTED,)),
    ErrorCode(
        "queue_unavailable",
        "Redis cannot be reached. What was accepted is safe.",
        (HTTPStatus.SERVICE_UNAVAILABLE,),
    ),
    ErrorCode(
        "too_many_connections",
        "This api has `PREBLE_MAX_CONNECTIONS` clients.",
        (HTTPStatus.SERVICE_UNAVAILABLE,),
    ),
    ErrorCode(
        "wait_ended",
        "The api did not wait any longer; the job goes on.",
        (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT),
    ),
    ErrorCode("storage_full", "The disk is full.", (HTTPStatus.INSUFFICIENT_STORAGE,)),
)
"""What a request may be answered with, in the order of the statuses."""

FAILURES: Final = (
    ErrorCode("engine_refused", "The engine will never run this job; the message is its.", (_BAD,)),
    ErrorCode("cancelled", "Somebody cancelled the job.", (_CONFLICT,)),
    ErrorCode("deadline_passed", "The job had not ended by its deadline.", (_CONFLICT,)),
    ErrorCode("run_time_exceeded", "It ran longer than `PREBLE_MAX_RUN_S`.", (_OURS,)),
    ErrorCode("attempts_used_up", "Its worker died, `PREBLE_MAX_ATTEMPTS` times.", (_OURS,)),
    ErrorCode("internal_error", "A bug in Preble; the worker's log has it.", (_OURS,)),
    ErrorCode("result_lost", "It has ended, and its result has expired.", (_OURS,)),
)
"""Why a job ended without a result: in its `error.code`, and where its answer is awaited."""

"""`POST /v1/responses`: its body into a job, its job into an answer.

A response is a job, seen through what its request said (`Echo`): nothing else is kept of it.
"""

from typing import Final

import msgspec

from preble.errors import InvalidJob
from preble.messages import JobId, JobResult, JobState, JobView
from preble.tokenizer import TokenTexts
from preble_api.logprobs import FIELD as LOGPROBS
from preble_api.openai.asked import Asked, Echo
from preble_api.openai.cache_diagnostics import diagnostics_of
from preble_api.openai.chat import DEFAULT_OUTPUT_TOKENS
from preble_api.openai.fields import not_offered, queued, require_offered, sampling_of
from preble_api.openai.logprobs import answer_logprobs
from preble_api.openai.messages import chat_of, system_message
from preble_api.openai.parsing import parse_body
from preble_api.openai.response_schemas import (
    LOGPROBS_INCLUDED,
    MOST_ECHO_CHARS,
    IncompleteDetails,
    InputTokensDetails,
    OutputMessage,
    OutputText,
    OutputTokensDetails,
    Response,
    ResponseError,
    ResponseRequest,
    ResponseUsage,
    Status,
)
from preble_api.openai.results import JOB_PREFIX, id_of
from preble_api.results import ENGINE_REFUSED, RESULT_LOST, result_of
from preble_api.sampling_schemas import RoomSampling, Sampling
from preble_api.schemas import ChatMessage, JobRequest

RESPONSES_PATH: Final = "/v1/responses"

CUT_SHORT: Final = "length"
"""Why an output ended that had reached its limit."""

_FIELD: Final = "input"
_TOP: Final = "top_logprobs"
_NAMES: Final = {"messages": _FIELD, LOGPROBS: _TOP}
_PREFIX: Final = "resp_"
_MESSAGE_PREFIX: Final = "msg_"

_STATUS: Final[dict[JobState, Status]] = {
    JobState.WAITING: "queued",
    JobState.ASSIGNED: "queued",
    JobState.RUNNING: "in_progress",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "failed",
}


def ended_status(view: JobView | None, state: JobState) -> Status:
    """How a response ended: as its job did, but that one cut short is incomplete.

    Args:
        view: Its job, if that is still known.
        state: In which the job ended.
    """
    if view is None or view.result is None or view.result.finish_reason != CUT_SHORT:
        return _STATUS[state]
    return "incomplete"


class ResponseEndpoint:
    """Responses. Implements `endpoints.Endpoint`."""

    _decoder = msgspec.json.Decoder(ResponseRequest)

    def parse(self, body: bytes) -> Asked:
        """What a body asks for. Raises: InvalidJob, HttpError."""
        request = parse_body(self._decoder, body)
        require_offered(request)
        if request.background and request.store is False:
            raise InvalidJob("store", "must be true with `background`: nobody could fetch it")
        stream = bool(request.stream)
        return Asked((_job(request),), _echo(request), is_streamed=stream, kind="response")

    def reply(self, asked: Asked, *views: JobView, token_texts: TokenTexts) -> Response:
        """The response, completed. Raises: HttpError."""
        [view] = views
        result_of(view)
        return response_of(asked.echo, view, token_texts)

    def in_its_names(self, error: InvalidJob) -> InvalidJob:
        """`messages` are called `input` here, and its logprobs by their number."""
        name = _NAMES.get(error.field)
        return type(error)(name, str(error)) if name else error


def response_id_of(job_id: JobId) -> str:
    """The id of a job's response."""
    return id_of(_PREFIX, job_id)


def job_id_of(response_id: str) -> JobId | None:
    """The job of a response; None if the id cannot be any response's."""
    if not response_id.startswith(_PREFIX):
        return None
    return JobId(JOB_PREFIX + response_id.removeprefix(_PREFIX))


def unfinished(echo: Echo, job_id: JobId, status: Status) -> Response:
    """A response without its output: what its request alone says of it."""
    return Response(
        id=response_id_of(job_id),
        created_at=echo.created_at_s,
        status=status,
        model=echo.model,
        instructions=echo.instructions,
        metadata=echo.metadata,
        temperature=echo.temperature,
        top_p=echo.top_p,
        max_output_tokens=echo.max_output_tokens,
        top_logprobs=echo.top_logprobs or 0,
        background=echo.is_background,
        store=echo.is_stored,
        user=echo.user,
        safety_identifier=echo.safety_identifier,
        prompt_cache_key=echo.prompt_cache_key,
    )


def response_of(echo: Echo, view: JobView, token_texts: TokenTexts) -> Response:
    """A response as its job stands.

    Args:
        echo: Of its request.
        view: Its job.
        token_texts: Of the pool's tokenizer.
    """
    dated = msgspec.structs.replace(echo, created_at_s=echo.created_at_s or view.submitted_at_s)
    response = unfinished(dated, view.job_id, _STATUS[view.state])
    if view.result is not None:
        return _completed(response, view, view.result, token_texts)
    if response.status == "failed" or view.state is JobState.COMPLETED:
        return msgspec.structs.replace(response, status="failed", error=_error(view))
    return response


def message_id_of(job_id: JobId) -> str:
    """The id of the item of a job's output."""
    return id_of(_MESSAGE_PREFIX, job_id)


def _message(job_id: JobId, result: JobResult, token_texts: TokenTexts) -> OutputMessage:
    """The item of an output that has ended."""
    is_cut = result.finish_reason == CUT_SHORT
    content = [OutputText(result.text, logprobs=answer_logprobs(result, token_texts))]
    return OutputMessage(message_id_of(job_id), "incomplete" if is_cut else "completed", content)


def _completed(
    response: Response, view: JobView, result: JobResult, token_texts: TokenTexts
) -> Response:
    is_cut = result.finish_reason == CUT_SHORT
    return msgspec.structs.replace(
        response,
        status="incomplete" if is_cut else "completed",
        incomplete_details=IncompleteDetails() if is_cut else None,
        output=[_message(view.job_id, result, token_texts)],
        usage=_usage(result),
        completed_at=view.ended_at_s,
        prompt_cache_diagnostics=diagnostics_of(view.assignment, result),
    )


def _usage(result: JobResult) -> ResponseUsage:
    cached = result.cached_tokens
    return ResponseUsage(
        input_tokens=result.prompt_tokens,
        input_tokens_details=InputTokensDetails(cached, result.prompt_tokens - cached),
        output_tokens=result.completion_tokens,
        output_tokens_details=OutputTokensDetails(),
        total_tokens=result.prompt_tokens + result.completion_tokens,
    )


def _error(view: JobView) -> ResponseError:
    failure = view.failure or RESULT_LOST
    if failure.code == ENGINE_REFUSED:
        return ResponseError("invalid_prompt", failure.message)
    return ResponseError("server_error", f"{failure.code}: {failure.message}")


def _job(request: ResponseRequest) -> JobRequest:
    limit = request.max_output_tokens
    kind = RoomSampling if limit is None else Sampling
    job = JobRequest(
        messages=_messages(request),
        model=request.model,
        sampling_params=sampling_of(
            request, kind, limit or DEFAULT_OUTPUT_TOKENS, logprobs=_logprobs(request)
        ),
    )
    return queued(job, request)


def _logprobs(request: ResponseRequest) -> int | None:
    """As the queue counts them.

    Raises:
        HttpError: If more is to be included.
        InvalidJob: If their number is given, and they are not wanted.
    """
    included = request.include or ()
    if any(each != LOGPROBS_INCLUDED for each in included):
        raise not_offered("include", f"only `{LOGPROBS_INCLUDED}` is offered here")
    if included:
        return request.top_logprobs or 0
    if request.top_logprobs:
        raise InvalidJob(_TOP, f'goes with `include: ["{LOGPROBS_INCLUDED}"]`')
    return None


def _messages(request: ResponseRequest) -> list[ChatMessage]:
    first = [system_message(request.instructions)] if request.instructions else []
    if isinstance(request.input, str):
        return [*first, ChatMessage("user", request.input)]
    return [*first, *chat_of(request.input, _FIELD)]


def _echo(request: ResponseRequest) -> Echo:
    instructions = request.instructions
    if instructions and len(instructions) > MOST_ECHO_CHARS:
        instructions = None
    return Echo(
        model=request.model,
        instructions=instructions,
        metadata=request.metadata,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        max_output_tokens=request.max_output_tokens,
        top_logprobs=_logprobs(request),
        is_background=bool(request.background),
        is_stored=request.store is not False,
        user=request.user,
        safety_identifier=request.safety_identifier,
        prompt_cache_key=request.prompt_cache_key,
    )

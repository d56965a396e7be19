"""What `/generate` answers, in SGLang's form: whole, and as the events of a stream. Pure."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from preble.errors import PrebleError
from preble.messages import JobResult, JobView, Submission
from preble.tokenizer import TokenTexts
from preble_api.errors import refusal
from preble_api.generate_logprobs import asked_logprobs
from preble_api.generate_schemas import (
    FinishReason,
    GenerateReply,
    MetaInfo,
    StreamError,
    StreamErrorEvent,
)
from preble_api.results import result_of
from preble_api.transcript import Piece

COMMENT: Final = b": waiting\n\n"
DONE: Final = b"data: [DONE]\n\n"

_encode: Final = msgspec.json.Encoder().encode


def answer_of(
    views: Sequence[JobView], rids: Sequence[str | None], token_texts: TokenTexts | None, *,
    is_list: bool,
) -> bytes:  # fmt: skip
    """The whole answer. Raises: HttpError if a job failed.

    Args:
        views: The jobs.
        rids: By which their client calls them.
        token_texts: Of the pool's tokenizer, if logprobs are to have texts.
        is_list: Whether it is a list.
    """
    by_rid = zip(views, rids, strict=True)
    replies = [_reply(view, rid, token_texts) for view, rid in by_rid]
    return _encode(replies if is_list else replies[0])


class Said:
    """What a stream has said of a job, which each event says again.

    Args:
        submission: The job.
        rid: By which its client calls it.
        index: Its place in the list; UNSET without one.
        token_texts: Of the pool's tokenizer, if logprobs are to have texts.
    """

    def __init__(
        self, submission: Submission, rid: str | None, index: int | msgspec.UnsetType,
        token_texts: TokenTexts | None,
    ) -> None:  # fmt: skip
        self._prompt_tokens = submission.spec.prompt_tokens
        self._rid = rid
        self._id = rid or submission.job_id
        self._index = index
        self._text = ""
        self._output_ids: tuple[int, ...] = ()
        self._token_texts = token_texts
        self._logprobs = asked_logprobs(submission.spec, token_texts)

    def event(self, piece: Piece | JobView) -> bytes:
        """The next event. Raises: HttpError if the job failed."""
        if isinstance(piece, JobView):
            whole = _reply(piece, self._rid, self._token_texts)
            return _event(msgspec.structs.replace(whole, index=self._index))
        self._text += piece.text
        self._output_ids += piece.output_ids
        known = MetaInfo(self._id, None, self._prompt_tokens, len(self._output_ids), 0)
        if self._logprobs:
            self._logprobs.add(piece)
            known = self._logprobs.in_meta(known)
        return _event(GenerateReply(self._text, self._output_ids, known, self._index))


def error_event(error: PrebleError) -> bytes:
    """What a stream says of it: its status is long out."""
    problem = refusal(error)
    is_ours = problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return _event(
        StreamErrorEvent(
            StreamError(
                message=str(problem),
                type="server_error" if is_ours else "invalid_request_error",
                code=problem.status,
                retryable=problem.retry_after_s is not None,
            )
        )
    )


def _reply(view: JobView, rid: str | None, token_texts: TokenTexts | None) -> GenerateReply:
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
    if logprobs := asked_logprobs(view.spec, token_texts):
        logprobs.add(result)
        meta_info = logprobs.in_meta(meta_info)
    return GenerateReply(result.text, result.output_ids, meta_info)


def _finish_reason(result: JobResult) -> FinishReason:
    """In SGLang's form; what matched is not known here."""
    length = result.completion_tokens if result.finish_reason == "length" else None
    return FinishReason(result.finish_reason, length)


def _event(struct: msgspec.Struct) -> bytes:
    return b"data: " + _encode(struct) + b"\n\n"

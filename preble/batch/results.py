"""What became of a line, as a line of the output or of the error file. Pure."""

from typing import Final

import msgspec

from preble.batch import openai_lines
from preble.batch.lines import Line
from preble.client import Job, JobUnknown, Outcome, Result
from preble.messages import JobState

COLUMNS: Final = (
    "id", "text", "finish_reason", "prompt_tokens", "cached_tokens", "completion_tokens", "job",
    "key",
)  # fmt: skip

_encode: Final = msgspec.json.Encoder().encode


class Answered(msgspec.Struct, frozen=True):
    """A line with its answer."""

    line: Line
    job: Job
    result: Result


class Failed(msgspec.Struct, frozen=True):
    """A line without an answer, and why."""

    line: Line
    code: str
    message: str
    job_id: str | None = None
    has_expired: bool = False
    """Whether its deadline came first."""


Ending = Answered | Failed


def ending_of(line: Line, outcome: Outcome) -> Ending:
    """What became of a line that was handed over."""
    if not isinstance(outcome, Job):
        code = "result_expired" if isinstance(outcome, JobUnknown) else outcome.code or "refused"
        return Failed(line, code, str(outcome))
    if outcome.result is not None:
        return Answered(line, outcome, outcome.result)
    error = outcome.error
    return Failed(
        line,
        error.code if error else str(outcome.status),
        error.message if error else f"the job was {outcome.status}",
        outcome.id,
        has_expired=outcome.status is JobState.EXPIRED,
    )


def written(ending: Ending, *, model: str, is_flat: bool) -> bytes:
    """The ending as JSON.

    Args:
        ending: Of any line.
        model: That the server has, for answers in OpenAI's form.
        is_flat: Whether OpenAI's lines are answered like all others.
    """
    if isinstance(ending, Answered):
        is_openai = ending.line.url and not is_flat
        return _encode(_openai(ending, model) if is_openai else _plain(ending))
    return _encode(_openai_error(ending) if ending.line.url else _error(ending))


def _plain(ending: Answered) -> dict[str, object]:
    result = ending.result
    usage = result.usage
    told = {} if result.logprobs is None else {"logprobs": result.logprobs}
    return {
        "id": ending.line.id,
        "text": result.text,
        "finish_reason": result.finish_reason,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "job": ending.job.id,
        "key": ending.line.key.hex(),
        **told,
    }


def _openai(ending: Answered, model: str) -> dict[str, object]:
    line, job = ending.line, ending.job
    body = openai_lines.reply(line.url, model, job, ending.result)
    return {
        "id": f"batch_req_{line.key.hex()}",
        "custom_id": line.id,
        "response": {"status_code": 200, "request_id": job.id, "body": body},
        "error": None,
        "key": line.key.hex(),
    }


def _error(ending: Failed) -> dict[str, object]:
    return {
        "id": ending.line.id,
        "line": ending.line.number,
        "error": {"code": ending.code, "message": ending.message},
        "job": ending.job_id,
        "key": ending.line.key.hex(),
    }


def _openai_error(ending: Failed) -> dict[str, object]:
    return {
        "id": f"batch_req_{ending.line.key.hex()}",
        "custom_id": ending.line.id,
        "response": None,
        "error": {"code": ending.code, "message": ending.message},
        "key": ending.line.key.hex(),
    }

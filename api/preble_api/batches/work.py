"""Lines into jobs, and jobs that have ended into lines: what a batch does with each of its lines.

The id of a line's job follows from the batch and the line, so a line that is handed over again,
by whomever, finds its job and makes no second one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from preble.clock import unix_s
from preble.errors import InvalidJob, JobRejected
from preble.messages import JobFailure, JobId, JobState, JobView, Submission
from preble.tokenizer import TokenTexts
from preble_api.batches.folder import BatchFolder, BatchRecord
from preble_api.batches.lines import (
    LineError,
    completed_line,
    refused_line,
    result_id,
    unanswered_line,
)
from preble_api.batches.plan import LinePlace, Plan
from preble_api.batches.shift import Kind
from preble_api.batches.validation import LineRules
from preble_api.errors import HttpError, refusal
from preble_api.intake import Intake
from preble_api.openai.asked import Asked
from preble_api.openai.endpoints import Endpoint
from preble_api.principal import Principal

EXPIRED: Final = LineError(
    "batch_expired", "this request was not answered before the batch's completion window was over"
)
CANCELLED: Final = LineError(
    "batch_cancelled", "this request was not answered before the batch was cancelled"
)
RESULT_EXPIRED: Final = LineError(
    "result_expired", "this request was answered, but nobody took its result as long as it was kept"
)
_LOST: Final = JobFailure("result_lost", "the result of this request is no longer kept")
_SOONEST_S: Final = 1.0


def why_stopped(folder: BatchFolder, record: BatchRecord) -> LineError | None:
    """Why a batch is to end before all of its lines were answered, if it is. Blocks."""
    if folder.cancelling_at_s() is not None:
        return CANCELLED
    return EXPIRED if unix_s() >= record.expires_at_s else None


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A line of the input."""

    position: int
    """In the plan."""
    place: LinePlace
    custom_id: str
    asked: Asked


@dataclass(frozen=True, slots=True)
class Ended:
    """A line that has come to its end."""

    place: LinePlace
    kind: Kind
    line: bytes


class Work:
    """The work of one batch.

    Args:
        record: What was asked.
        rules: For its lines.
        endpoint: Which they all ask for.
        intake: Checks and tokenizes.
        token_texts: Of the pool's tokenizer.
    """

    def __init__(
        self, record: BatchRecord, rules: LineRules, endpoint: Endpoint, intake: Intake,
        token_texts: TokenTexts,
    ) -> None:  # fmt: skip
        self._token_texts = token_texts
        self._record = record
        self._rules = rules
        self._endpoint = endpoint
        self._intake = intake
        self._principal = Principal(record.key_tenant, frozenset({"submit"}))

    def read(self, path: Path, plan: Plan, positions: Iterable[int]) -> list[BatchLine]:
        """Lines of the input, which was found valid. Blocks."""
        lines: list[BatchLine] = []
        with path.open("rb") as file:
            for position in positions:
                place = plan[position]
                file.seek(place.offset)
                parsed, asked = self._rules.parse(file.read(place.num_bytes))
                lines.append(BatchLine(position, place, parsed.custom_id, asked))
        return lines

    def job_id(self, place: LinePlace) -> JobId:
        """Id of the line's job; says when the batch was made."""
        batch_id = self._record.id
        return self._intake.ids.keyed(
            _dated_key(batch_id), sha256(f"{batch_id}\0{place.number}".encode()).hexdigest()
        )

    async def submission(self, line: BatchLine) -> Submission | Ended:
        """The line as a job, or its end if it can be none."""
        job = replace(
            line.asked.job,
            tenant=self._record.tenant,
            priority=self._record.request.priority,
            deadline_s=self._deadline_s(line),
        )
        try:
            submission = await self._intake.one(job, self._principal)
        except InvalidJob as error:
            return self._refused(line, refusal(self._endpoint.in_its_names(error)))
        except (JobRejected, HttpError) as error:
            return self._refused(line, refusal(error))
        return replace(submission, job_id=self.job_id(line.place))

    def ended(self, line: BatchLine, view: JobView, stopped: LineError | None) -> Ended:
        """What became of a job that has ended.

        Args:
            line: Of which it is the job.
            view: The job.
            stopped: Why the batch stopped, if it did: then its jobs did not end by themselves.
        """
        if view.state is JobState.COMPLETED:
            return self._answered(line, view)
        if view.state in {JobState.CANCELLED, JobState.EXPIRED} and stopped is not None:
            return self.unanswered(line, stopped)
        if view.state is JobState.EXPIRED and line.asked.job.deadline_s is None:
            return self.unanswered(line, EXPIRED)
        return self._refused(line, _failed(view.failure or _LOST))

    def unanswered(self, line: BatchLine, error: LineError) -> Ended:
        """The end of a line that nothing can answer any more."""
        id_ = result_id(self._record.id, line.place.number)
        return Ended(line.place, "error", unanswered_line(id_, line.custom_id, error))

    def _answered(self, line: BatchLine, view: JobView) -> Ended:
        if view.result is None:
            return self._refused(line, _failed(_LOST))
        try:
            body = self._endpoint.reply(line.asked, view, token_texts=self._token_texts)
        except HttpError as error:
            return self._refused(line, error)
        id_ = result_id(self._record.id, line.place.number)
        return Ended(line.place, "output", completed_line(id_, line.custom_id, view.job_id, body))

    def _refused(self, line: BatchLine, error: HttpError) -> Ended:
        id_ = result_id(self._record.id, line.place.number)
        job_id = self.job_id(line.place)
        return Ended(line.place, "error", refused_line(id_, line.custom_id, job_id, error))

    def _deadline_s(self, line: BatchLine) -> float:
        """Of the job: its own, or what is left of the batch's time, whichever is sooner."""
        left_s = max(self._record.expires_at_s - unix_s(), _SOONEST_S)
        return min(left_s, line.asked.job.deadline_s or left_s)


def _failed(failure: JobFailure) -> HttpError:
    """A refusal of the engine is the request's fault, all else is ours."""
    is_refused = failure.code == "engine_refused"
    status = HTTPStatus.BAD_REQUEST if is_refused else HTTPStatus.INTERNAL_SERVER_ERROR
    return HttpError(status, failure.code, failure.message)


def _dated_key(batch_id: str) -> str:
    """A UUID of version 7 with the batch's own time, as `JobIds.keyed` reads it."""
    made_ms = batch_id.removeprefix("batch_")[:12]
    return f"{made_ms[:8]}-{made_ms[8:]}-7000-8000-000000000000"

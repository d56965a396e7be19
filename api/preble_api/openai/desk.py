"""What all of OpenAI's routes do with a request: read it, make its jobs, admit and count them."""

import dataclasses
from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace
from starlette.requests import Request

from preble.errors import InvalidJob, PrebleError
from preble.messages import JobId, Submission
from preble.metrics import ApiMetrics
from preble_api.admission import Admission
from preble_api.deadlines import with_deadline
from preble_api.disconnects import cancels_if_gone
from preble_api.errors import refusal
from preble_api.idempotency import under_key
from preble_api.intake import Intake
from preble_api.logprobs import require_few_together
from preble_api.openai.asked import Asked
from preble_api.openai.endpoints import Endpoint
from preble_api.principal import Principal, principal_of
from preble_api.queue_headers import with_queue
from preble_api.submitting import admit_request, require_json
from preble_api.waits import Waits

_WHAT: Final = "request"


class Taken(NamedTuple):
    """A request whose jobs are in the queue."""

    asked: Asked
    """Without its jobs."""
    submissions: Sequence[Submission]
    cancel_if_gone: bool
    """Whether they are to end if the client leaves."""

    @property
    def job_ids(self) -> list[JobId]:
        """Of its jobs, in the order of the choices."""
        return [each.job_id for each in self.submissions]


class Desk:
    """Takes requests.

    Args:
        intake: Checks and tokenizes.
        admission: Writes to the queue.
        waits: Will hear of the jobs' ends.
        metrics: Where jobs are counted.
    """

    def __init__(
        self, intake: Intake, admission: Admission, waits: Waits, metrics: ApiMetrics
    ) -> None:
        self._intake = intake
        self.ids = intake.ids
        self._admission = admission
        self._waits = waits
        self._metrics = metrics

    async def take(self, request: Request, endpoint: Endpoint) -> Taken:
        """Read a request and write its jobs to the queue, all or none.

        Raises: HttpError, JobRejected, BrokerUnavailable.
        """
        principal = principal_of(request.scope)
        try:
            cancel_if_gone = cancels_if_gone(request)
            require_json(request, _WHAT)
            asked = endpoint.parse(await request.body())
            submissions = await self._submissions(request, endpoint, asked, principal)
            followed = [self._followed(asked, each) for each in submissions]
            await admit_request(request, self._admission, self._metrics, followed)
        except PrebleError as error:
            self._metrics.jobs_rejected.labels(refusal(error).code).inc()
            raise
        # The prompts would be held for as long as a client waits, which may be a day.
        return Taken(dataclasses.replace(asked, jobs=()), followed, cancel_if_gone)

    async def _submissions(
        self, request: Request, endpoint: Endpoint, asked: Asked, principal: Principal
    ) -> Sequence[Submission]:
        jobs = with_deadline(request, with_queue(request, asked.jobs))
        try:
            if len(jobs) == 1:
                made = [await self._intake.one(jobs[0], principal)]
            else:
                made = await self._intake.many(jobs, principal)
            require_few_together(made)
        except InvalidJob as error:
            raise endpoint.in_its_names(error) from None
        return await under_key(request, made, self.ids)

    def _followed(self, asked: Asked, submission: Submission) -> Submission:
        """A stream that may be asked for again, from anywhere, is kept."""
        echo = asked.echo
        return self._waits.followed(
            _told_as(asked, submission),
            is_streamed=asked.is_streamed,
            is_logged=asked.is_streamed and echo.is_background and echo.is_stored,
        )


def _told_as(asked: Asked, submission: Submission) -> Submission:
    """With a webhook that speaks of what the client asked for."""
    webhook = submission.webhook
    if webhook is None:
        return submission
    return replace(submission, webhook=replace(webhook, kind=asked.kind))

"""What can go wrong between a client and the api."""

from typing import Self

from preble.errors import PrebleError


class ServerUnreachable(PrebleError):
    """Nobody answers at the URL, or not in time."""


class SubmissionUncertain(ServerUnreachable):
    """Jobs were sent and no answer came: they may have been accepted or not.

    Args:
        why: How the last attempt failed.
        idempotency_key: Under which the same jobs can be submitted again, and are made once.
    """

    def __init__(self, why: str, *, idempotency_key: str) -> None:
        super().__init__(
            f"{why}: the jobs may have been accepted or not; submit the same again under the "
            f"idempotency key `{idempotency_key}`, and none is made twice"
        )
        self.why = why
        self.idempotency_key = idempotency_key

    def under(self, idempotency_key: str) -> "SubmissionUncertain":
        """The same error, of a larger submission that goes under another key."""
        return SubmissionUncertain(self.why, idempotency_key=idempotency_key)


class UnexpectedReply(PrebleError):
    """What answers at the URL is no Preble, or one of another version."""


class WaitTimeout(PrebleError):
    """Jobs were not done in time; they go on."""


class RequestRefused(PrebleError):
    """The api refuses a request.

    Args:
        message: The api's own words.
        status: HTTP status.
        code: Short name for programs, such as `context_length_exceeded`.
        field: The field that is wrong, if it is one.
    """

    def __init__(self, message: str, *, status: int, code: str, field: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field

    def about(self, job_id: str) -> Self:
        """The same error, with the job named."""
        return type(self)(f"{job_id}: {self}", status=self.status, code=self.code, field=self.field)


class JobUnknown(RequestRefused):
    """No such job, or its result has expired."""

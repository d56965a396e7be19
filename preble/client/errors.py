"""What can go wrong between a client and the api."""

from preble.errors import PrebleError


class ServerUnreachable(PrebleError):
    """Nobody answers at the URL, or not in time."""


class SubmissionUncertain(ServerUnreachable):
    """The connection broke after jobs were sent: they may have been accepted or not."""


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


class JobUnknown(RequestRefused):
    """No such job, or its result has expired."""

    def about(self, job_id: str) -> "JobUnknown":
        """The same error, with the job named."""
        return JobUnknown(f"{job_id}: {self}", status=self.status, code=self.code, field=self.field)

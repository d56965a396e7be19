"""Follows many jobs to their end, as a caller wants to hear of them."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Self

from preble.client.calls import Calls
from preble.client.errors import JobUnknown
from preble.client.exchange import Program
from preble.client.looks import Looks
from preble.client.replies import Ended, Job


def job_missing(job_id: str) -> JobUnknown:
    """The error that a job which was followed is unknown."""
    message = f"{job_id}: no such job, or its result has expired"
    return JobUnknown(message, status=HTTPStatus.NOT_FOUND, code="job_not_found", field=None)


class JobWatch:
    """Asks for open jobs, many in one request, as often as makes sense.

    Args:
        calls: Of the api.
        run: Runs a program.
        job_ids: What to follow at first.
    """

    def __init__(
        self, calls: Calls, run: Callable[[Program[Ended]], Ended], job_ids: Iterable[str]
    ) -> None:
        self._calls = calls
        self._run = run
        self._looks = Looks(job_ids)

    def __enter__(self) -> Self:
        """Return the watch."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the jobs to themselves."""

    @property
    def num_open(self) -> int:
        """Jobs that have not been seen to end."""
        return len(self._looks)

    def add(self, job_ids: Iterable[str]) -> None:
        """Follow more jobs."""
        self._looks.add(job_ids)

    def look(self, *, at_most_s: float = float("inf")) -> list[Job]:
        """Ask for jobs that are open, if need be after a pause.

        Args:
            at_most_s: Longest time to wait for an end.

        Returns:
            Some that ended since the last look, perhaps none.

        Raises:
            JobUnknown: If one does not exist.
            ServerUnreachable: If the api does not answer.
        """
        return known(self._run(self._looks.look(self._calls, at_most_s=at_most_s)))


def known(found: Ended) -> list[Job]:
    """The jobs that have ended. Raises: JobUnknown, if one is missing."""
    if found.missing:
        raise job_missing(found.missing[0])
    return found.data

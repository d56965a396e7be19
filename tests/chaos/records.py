"""What clients asked and were told, and what Redis holds in the end: all that the checker sees.

Times of clients are Unix seconds of this host, those of jobs are of Redis, which runs on it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal, TextIO

import msgspec

from preble.messages import JobState

NO_ANSWER: Final = 0
"""Status of a request that got none: the connection broke, or the time was up."""


class Submitted(msgspec.Struct, frozen=True, tag="submitted", omit_defaults=True):
    """One attempt to submit a batch."""

    asked_at_s: float
    at_s: float
    key: str
    api: str
    status: int
    job_ids: tuple[str, ...] = ()
    retry_after_s: float | None = None
    code: str = ""
    """Of the refusal, or the error that stood in place of an answer."""


class Seen(msgspec.Struct, frozen=True, tag="seen", omit_defaults=True):
    """One look at a job, or an attempt to cancel it, which shows it, too."""

    asked_at_s: float
    at_s: float
    job_id: str
    asked: Literal["look", "cancel"]
    api: str
    status: int
    state: JobState | None = None
    attempt: int = 0
    created_at_s: float | None = None
    started_at_s: float | None = None
    ended_at_s: float | None = None
    deadline_at_s: float | None = None
    engine_s: float | None = None
    """Of the result; None without one."""
    code: str = ""
    """Why it failed, or the error that stood in place of an answer."""

    @property
    def has_ended(self) -> bool:
        """Whether the job was said to have ended."""
        return self.state is not None and self.state.is_terminal


Entry = Submitted | Seen


class FinalJob(msgspec.Struct, frozen=True):
    """A job as Redis holds it in the end."""

    job_id: str
    state: JobState
    attempt: int
    started_ms: int | None
    ended_ms: int | None
    deadline_ms: int | None
    failure: str
    results: int
    """Entries of RQ's result stream."""
    successes: int
    """Those of them that hold a result."""
    has_expiry: bool


class Remains(msgspec.Struct, frozen=True):
    """All that is left in Redis."""

    jobs: dict[str, FinalJob]
    totals: dict[str, int]
    held: dict[str, int]
    """Jobs and prompt bytes that the pool counts as not ended."""
    residue: list[str]
    """Keys that should be gone once all jobs have ended."""


class ClientLog:
    """All that clients asked and were told: in memory, and line by line in a file.

    Args:
        path: Of the file, which is made anew.
    """

    def __init__(self, path: Path) -> None:
        self.entries: list[Entry] = []
        self._file: TextIO = path.open("w")

    def add(self, entry: Entry) -> None:
        """Note one. Changes: the file, too."""
        self.entries.append(entry)
        self._file.write(msgspec.json.encode(entry).decode() + "\n")

    def close(self) -> None:
        """Write out the rest."""
        self._file.close()


def accepted_ids(entries: Iterable[Entry]) -> set[str]:
    """Jobs that a client was told are in the queue."""
    return {job_id for each in submissions(entries) for job_id in each.job_ids}


def submissions(entries: Iterable[Entry]) -> Iterator[Submitted]:
    """Attempts to submit."""
    return (each for each in entries if isinstance(each, Submitted))


def looks(entries: Iterable[Entry]) -> Iterator[Seen]:
    """What was seen of jobs."""
    return (each for each in entries if isinstance(each, Seen))


def history(entries: Iterable[Entry], job_id: str) -> list[Entry]:
    """All that concerns one job. Cost: O(entries)."""
    return [each for each in entries if job_id in _ids(each)]


def _ids(entry: Entry) -> tuple[str, ...]:
    return entry.job_ids if isinstance(entry, Submitted) else (entry.job_id,)

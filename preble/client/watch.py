"""Follows many jobs to their end without asking for more than the api can take."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final, Self

from preble.client.replies import Job
from preble.clock import Clock

MAX_POLLS: Final = 8
"""Jobs asked for at the same time."""

WATCH_WINDOW: Final = 64
"""Unfinished jobs that are polled; those behind wait, for jobs end roughly in order."""


class JobWatch:
    """Polls unfinished jobs, a few at the same time, each as often as the api asks for.

    Args:
        fetch: Returns a job and the seconds after which to ask for it again.
        job_ids: What to follow at first.
        clock: Decides which jobs are due.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        fetch: Callable[[str], tuple[Job, float]],
        job_ids: Iterable[str],
        *,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._sleep = sleep
        self._due_s = dict.fromkeys(job_ids, clock.now_s())
        self._pool = ThreadPoolExecutor(MAX_POLLS, thread_name_prefix="preble-poll")

    def __enter__(self) -> Self:
        """Return the watch."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the polling threads."""
        self._pool.shutdown(cancel_futures=True)

    @property
    def num_open(self) -> int:
        """Jobs that have not been seen to end."""
        return len(self._due_s)

    def add(self, job_ids: Iterable[str]) -> None:
        """Follow more jobs."""
        self._due_s.update(dict.fromkeys(job_ids, self._clock.now_s()))

    def look(self, *, at_most_s: float = float("inf")) -> list[Job]:
        """Ask once for each job that is due, after waiting until one is.

        Args:
            at_most_s: Longest wait.

        Returns:
            The jobs that ended since the last look, perhaps none.

        Raises:
            JobUnknown: If one does not exist.
            ServerUnreachable: If the api does not answer.
        """
        window = list(islice(self._due_s, WATCH_WINDOW))
        if not window:
            return []
        next_s = min(self._due_s[job_id] for job_id in window)
        self._sleep(min(max(0.0, next_s - self._clock.now_s()), at_most_s))
        now_s = self._clock.now_s()
        due = [job_id for job_id in window if self._due_s[job_id] <= now_s]
        replies = self._pool.map(self._fetch, due)
        return [job for job, pause_s in replies if self._has_ended(job, pause_s)]

    def _has_ended(self, job: Job, pause_s: float) -> bool:
        """Remember when to ask again. Returns whether the job has ended."""
        if job.status.is_terminal:
            del self._due_s[job.id]
            return True
        self._due_s[job.id] = self._clock.now_s() + pause_s
        return False

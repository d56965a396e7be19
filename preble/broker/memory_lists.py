"""Lists of jobs and dead letters of the memory broker: what LIST, RETRY and REAP do with them."""

from collections.abc import Mapping

from preble.broker.answers import PROMPT_DROPPED
from preble.broker.bounds import Bounds
from preble.broker.lists import JobPage, JobQuery, group_of
from preble.broker.memory_records import Job
from preble.errors import PromptDropped
from preble.messages import JobId, JobState, JobView


def page_of(jobs: Mapping[JobId, Job], query: JobQuery) -> JobPage:
    """A page of jobs. Cost: O(jobs), unlike that of the lists in Redis."""
    listed = sorted(
        ((job.order, job_id) for job_id, job in jobs.items() if _is_listed(job, query)),
        reverse=query.is_newest_first,
    )
    page: list[JobView] = []
    after = query.after
    for looks, (order, job_id) in enumerate(listed):
        if looks == query.looks or len(page) == query.limit:
            return JobPage(tuple(page), after)
        after = order
        if query.state in {None, jobs[job_id].state}:
            page.append(jobs[job_id].summary(job_id))
    return JobPage(tuple(page), None)


def _is_listed(job: Job, query: JobQuery) -> bool:
    """Whether a job is in the list that is read, and after the place where the page begins."""
    after = query.after
    is_after = after is None or (job.order < after if query.is_newest_first else job.order > after)
    is_of_tenant = query.tenant in {None, job.spec.tenant}
    return is_after and is_of_tenant and query.group in {"", group_of(job.state)}


class DeadLetters:
    """Failed jobs that keep their prompts, to be run again.

    Args:
        bounds: How many bytes of prompts; beyond, those admitted first lose theirs.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._most_bytes = bounds.max_dead_letter_bytes
        self._jobs: dict[int, Job] = {}
        """By order of admission."""

    @property
    def num_bytes(self) -> int:
        """Of the prompts kept."""
        return sum(len(job.prompt) for job in self._jobs.values())

    def keep(self, job: Job) -> None:
        """A job ended: if it failed, its prompt is kept, else it is dropped."""
        if job.state is not JobState.FAILED:
            job.drop_prompt()
            return
        self._jobs[job.order] = job
        while self.num_bytes > self._most_bytes:
            self._jobs.pop(min(self._jobs)).drop_prompt()

    def dropped(self, job: Job) -> PromptDropped | None:
        """Why a failed job cannot run again, if so."""
        return None if job.order in self._jobs else PromptDropped(PROMPT_DROPPED)

    def forget(self, job: Job) -> None:
        """It is none any more; harmless if it was none."""
        self._jobs.pop(job.order, None)

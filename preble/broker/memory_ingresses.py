"""The ingress queues of the memory broker: what ADMIT, PEEK, ROUTE and REAP do with them."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from preble.broker import PEEKED_JOBS
from preble.broker.keys import PoolKeys
from preble.broker.memory_records import Job
from preble.messages import JobId, JobSpec, Submission


class Ingresses:
    """Queues of waiting jobs by name; each exists while a job waits in it."""

    def __init__(self, keys: PoolKeys) -> None:
        self._keys = keys
        self._batch_queues = keys.ingress_queue("batch", "")
        self._queues: dict[str, deque[JobId]] = {}

    @property
    def num_jobs(self) -> int:
        """Jobs that wait."""
        return sum(map(len, self._queues.values()))

    def of(self, job: Job) -> str:
        """The queue that a job waits in: its own, or the quarantine."""
        return self._keys.quarantine_queue if job.is_quarantined else self._own(job.spec)

    def _own(self, spec: JobSpec) -> str:
        return self._keys.ingress_queue(spec.priority, spec.tenant)

    def has_room(self, jobs: Iterable[Submission], most: int) -> bool:
        """Whether new jobs can wait with at most so many queues; always, where others wait."""
        opened = {self._own(job.spec) for job in jobs} - self._queues.keys()
        return not opened or len(self._queues) + len(opened) <= most

    def append(self, job_id: JobId, job: Job) -> None:
        """Let a job wait at the end of its queue."""
        self._queues.setdefault(self.of(job), deque()).append(job_id)

    def put_first(self, job_id: JobId, job: Job) -> None:
        """Let a job wait at the front of its queue."""
        self._queues.setdefault(self.of(job), deque()).appendleft(job_id)

    def remove(self, job_id: JobId, job: Job) -> None:
        """Take a waiting job out."""
        queue = self._queues[self.of(job)]
        queue.remove(job_id)
        if not queue:
            del self._queues[self.of(job)]

    def position(self, job_id: JobId, job: Job) -> int:
        """Jobs ahead of a waiting one."""
        return self._queues[self.of(job)].index(job_id)

    def heads(self, window_jobs: int, batch_window_jobs: int) -> Iterator[tuple[str, JobId]]:
        """The first jobs of each queue; the queues by name."""
        share = max(1, PEEKED_JOBS // max(1, len(self._queues)))
        for name, queue in sorted(self._queues.items()):
            is_batch = name.startswith(self._batch_queues)
            window = batch_window_jobs if is_batch else window_jobs
            for job_id in islice(queue, min(window, share)):
                yield name, job_id

"""What waits at the heads of the ingress queues, without asking twice for what never changes.

A plan looks at hundreds of jobs at each decision and places a few of them. Their ids are
listed each time; their specs and block keys, which are most of the bytes, only once.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from preble.broker import PEEKED_JOBS
from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Argument
from preble.broker.redis_replies import DescribedJob, Peeked, described_jobs, peeked
from preble.broker.redis_scripts import ScriptRunner
from preble.messages import JobId, WaitingJob

DESCRIBED_TOGETHER: Final = 256
"""Jobs described in one call, so that no call blocks Redis long."""

DESCRIBED_AT_ONCE: Final = 16
"""Jobs that are described as they are peeked: where few come, each waits for one call less."""


class RedisPeek:
    """Lists waiting jobs of one pool; remembers those of its last look, and only those."""

    def __init__(self, scripts: ScriptRunner, keys: PoolKeys) -> None:
        self._scripts = scripts
        self._batch_queues = keys.ingress_queue("batch", "")
        self._quarantine = keys.quarantine_queue
        self._known: dict[JobId, DescribedJob] = {}

    async def __call__(self, window_jobs: int, batch_window_jobs: int) -> list[WaitingJob]:
        """The first jobs of each queue. Cost: one call, and one for each 256 jobs first seen."""
        # Beside jobs that wait since the last look, those that are known would be described again.
        described = 0 if self._known else DESCRIBED_AT_ONCE
        now_ms, jobs, self._known = await self._look(
            window_jobs, self._batch_queues, batch_window_jobs, PEEKED_JOBS, described
        )
        return [
            self._waiting(job_id, ingress, self._known[job_id], now_ms)
            for ingress, job_id in jobs
            if job_id in self._known
        ]

    def forget(self, job_ids: Iterable[JobId]) -> None:
        """They were placed. One that waits again may have been retried, and waits since then."""
        for job_id in job_ids:
            self._known.pop(job_id, None)

    async def _look(self, *arguments: Argument) -> Peeked:
        """All that are peeked, described, but for those that left meanwhile."""
        seen = peeked(await self._scripts.run("peek", *arguments))
        return seen if seen.described else seen._replace(described=await self._describe(seen.jobs))

    async def _describe(self, jobs: Sequence[tuple[str, JobId]]) -> dict[JobId, DescribedJob]:
        earlier = self._known
        known = {job_id: earlier[job_id] for _, job_id in jobs if job_id in earlier}
        new = [each for each in jobs if each[1] not in earlier]
        for start in range(0, len(new), DESCRIBED_TOGETHER):
            part = new[start : start + DESCRIBED_TOGETHER]
            arguments = (argument for each in part for argument in each)
            known |= described_jobs(await self._scripts.run("describe", *arguments))
        return known

    def _waiting(self, job_id: JobId, ingress: str, job: DescribedJob, now_ms: int) -> WaitingJob:
        # A clock of Redis that was set back must not make a job wait for less than nothing.
        waited_s = max(0, now_ms - job.submitted_ms) / 1000
        return WaitingJob(
            job_id, ingress, job.spec, job.block_keys, waited_s,
            runs_alone=ingress == self._quarantine,
        )  # fmt: skip

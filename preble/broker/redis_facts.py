"""Looks at a pool and its Redis without changing anything: for `preble doctor`.

    names ─▶ census: everything of one moment ─▶ a sample of the jobs found, one by one

The keyspace is never scanned: each step is one round trip of O(instances + ingress queues)
commands and a bounded sample. The census is one transaction, so its sums must add up.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from preble.broker.agreement import FIRST_SCHEMA
from preble.broker.facts import DamagedJob, Facts, JobFacts, PoolFacts, RollbackFacts
from preble.broker.keys import PoolKeys
from preble.broker.redis_census import Census, SampledJob, decoded, sampled_job
from preble.broker.redis_client import Client, connect, translated
from preble.broker.redis_questions import (
    Questions,
    Replies,
    names_from,
    questions_of_census,
    questions_of_job,
    questions_of_names,
    texts,
)
from preble.broker.redis_server_facts import collect_server_facts
from preble.clock import Clock
from preble.messages import InstanceId, JobId, PoolRecord

CENSUSES: Final = 3
_NO_KEY: Final = -2
"""What PTTL says of a key that is not there."""

_decode_pool: Final = msgspec.json.Decoder(PoolRecord).decode


async def collect_facts(redis_url: str, pool: str, clock: Clock) -> Facts:
    """One look at a pool and its Redis.

    Args:
        redis_url: Where.
        pool: Its name.
        clock: Measures round trips.

    Raises:
        BrokerUnavailable: If Redis cannot be reached.
        BrokerError: If it refuses to tell.
        ConfigError: If the URL is none that Redis knows.

    Changes: nothing.
    """
    client = connect(redis_url)
    try:
        server = await collect_server_facts(client, clock)
        has_pool = server.mode == "standalone"
        return Facts(server, await PoolReader(client, pool).read() if has_pool else None)
    finally:
        await client.aclose()


class PoolReader:
    """Reads the facts of one pool."""

    def __init__(self, client: Client, pool: str) -> None:
        self._client = client
        self._keys = PoolKeys(pool)

    async def read(self) -> PoolFacts:
        """All facts. Raises: BrokerUnavailable, BrokerError."""
        census = await self._census()
        replies = census.replies
        lease_ms = replies["leader lease", ""]
        return PoolFacts(
            schema=int(replies["schema", ""] or FIRST_SCHEMA),
            record=decoded(_decode_pool, replies["record", ""]),
            leader_lease_s=None if lease_ms == _NO_KEY else max(0, lease_ms) / 1000,
            terms=int(replies["terms", ""] or 0),
            instances=tuple(census.instances()),
            drained=tuple(InstanceId(name) for name in texts(replies["drained", ""])),
            jobs=_jobs(census, await self._sample(census)),
            rollback=_rollback(census),
        )

    async def _census(self) -> Census:
        """A whole one, unless queues come and go faster than they can be counted."""
        census = await self._count()
        for _ in range(CENSUSES - 1):
            if census.is_whole:
                break
            census = await self._count()
        return census

    async def _count(self) -> Census:
        names = names_from(await self._ask(questions_of_names(self._keys)), self._keys)
        questions = questions_of_census(self._keys, names)
        return Census(self._keys, names, await self._ask(questions, is_atomic=True))

    async def _sample(self, census: Census) -> dict[str, SampledJob]:
        """Those of the census' jobs that have not ended since."""
        jobs = {*census.queued(), *census.running()}
        questions: Questions = {}
        for job in jobs:
            questions |= questions_of_job(self._keys, job)
        replies = await self._ask(questions)
        looked_at = {job: sampled_job(replies, job) for job in jobs}
        return {job: found for job, found in looked_at.items() if found}

    async def _ask(self, questions: Questions, *, is_atomic: bool = False) -> Replies:
        with translated():
            async with self._client.pipeline(transaction=is_atomic) as pipeline:
                for command in questions.values():
                    pipeline.execute_command(*command)
                return dict(zip(questions, await pipeline.execute(), strict=True))


def _jobs(census: Census, sample: Mapping[str, SampledJob]) -> JobFacts:
    replies = census.replies
    counts = _integers(replies["counts", ""])
    damaged = (DamagedJob(JobId(job), seen.missing) for job, seen in sample.items() if seen.missing)
    return JobFacts(
        ingresses=tuple(census.ingresses(sample)),
        stranded=tuple(census.stranded()),
        leases=replies["leases", ""],
        released=replies["released", ""],
        overdue=replies["overdue", ""],
        overdue_sample=tuple(census.overdue(sample)),
        late=replies["late", ""],
        counted=counts.get("jobs", 0),
        prompt_bytes=counts.get("prompt_bytes", 0),
        ended_bytes=counts.get("ended_bytes", 0),
        recounted_ended_bytes=census.ended_bytes(),
        is_whole=census.is_whole,
        sampled=len(sample),
        damaged=tuple(sorted(damaged, key=lambda job: job.job_id)),
        longest_run_s=_longest_run_s(census, sample),
        totals=_integers(replies["totals", ""]),
    )


def _rollback(census: Census) -> RollbackFacts | None:
    from_ms, to_ms = (int(ms or 0) for ms in census.replies["rollback", ""])
    if not to_ms:
        return None
    return RollbackFacts(
        lost_s=(to_ms - from_ms) / 1_000 if from_ms else None,
        ago_s=census.ago_s(to_ms),
        rollbacks=_integers(census.replies["totals", ""]).get("rollbacks", 0),
    )


def _longest_run_s(census: Census, sample: Mapping[str, SampledJob]) -> float | None:
    started = (sample[job].started_ms for job in census.running() if job in sample)
    return max((census.ago_s(ms) for ms in started if ms), default=None)


def _integers(fields: Mapping[bytes, Any]) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in fields.items()}

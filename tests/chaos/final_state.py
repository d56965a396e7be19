"""Reads from Redis what is left of a run."""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, cast

import msgspec
from chaos.records import FinalJob, Remains
from redis import Redis

from preble.broker.keys import KEYS, PoolKeys
from preble.messages import JobFailure, JobState

POOL: Final = "default"
TOGETHER: Final = 1_000
_FIELDS: Final = (
    "preble_state", "preble_attempt", "preble_started_ms", "preble_ended_ms",
    "preble_deadline_ms", "preble_failure",
)  # fmt: skip
_GOES: Final = frozenset({
    "ingresses", "prompt", "block_keys", "leases", "tenants", "deadlines", "queue", "started",
    "execution", "executions", "worker_executions",
})  # fmt: skip
"""What belongs to jobs that have not ended; but prompts of failed ones are kept, to be retried."""
_OF_FAILED: Final = frozenset({"prompt", "block_keys"})
_RQ_WORKERS: Final = re.compile(r"rq:workers(:.*)?")
_PLACEHOLDER: Final = re.compile(r"\\\{\w+\\\}")
_SUCCESS: Final = "1"
"""RQ's type of a result that is no failure."""


def read_final(client: Redis) -> Remains:
    """All of it. Cost: some round trips for each 1,000 jobs; a scan of all keys."""
    keys = PoolKeys(POOL)
    names = list(cast("Iterator[str]", client.scan_iter(count=TOGETHER)))
    job_prefix = keys("job", job="")
    ids = [name.removeprefix(job_prefix) for name in names if name.startswith(job_prefix)]
    counts = client.hmget(keys("counts"), ["jobs", "prompt_bytes"])
    jobs = {job.job_id: job for job in _jobs(client, keys, ids)}
    failed = {job_id for job_id, job in jobs.items() if job.state is JobState.FAILED}
    return Remains(
        jobs=jobs,
        totals={str(name): int(each) for name, each in client.hgetall(keys("totals")).items()},
        held=dict(zip(("jobs", "prompt bytes"), map(int, (n or 0 for n in counts)), strict=True)),
        residue=sorted(name for name in names if _is_residue(name, failed)),
    )


def _jobs(client: Redis, keys: PoolKeys, ids: Sequence[str]) -> Iterator[FinalJob]:
    for start in range(0, len(ids), TOGETHER):
        some = ids[start : start + TOGETHER]
        with client.pipeline(transaction=False) as pipeline:
            for job_id in some:
                pipeline.hmget(keys("job", job=job_id), _FIELDS)
                pipeline.xrange(keys("results", job=job_id))
                pipeline.pttl(keys("job", job=job_id))
            replies = pipeline.execute()
        for at, job_id in enumerate(some):
            yield _job(job_id, *replies[3 * at : 3 * at + 3])


def _job(job_id: str, fields: Sequence[str | None], results: list[Any], ttl_ms: int) -> FinalJob:
    state, attempt, started, ended, deadline, failure = fields
    return FinalJob(
        job_id=job_id,
        state=JobState(state or JobState.WAITING),
        attempt=int(attempt or 0),
        started_ms=_int(started),
        ended_ms=_int(ended),
        deadline_ms=_int(deadline),
        failure=msgspec.json.decode(failure, type=JobFailure).code if failure else "",
        results=len(results),
        successes=sum(entry["type"] == _SUCCESS for _, entry in results),
        has_expiry=ttl_ms > 0,
    )


def _int(text: str | None) -> int | None:
    return int(float(text)) if text else None


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(_PLACEHOLDER.sub(".+", re.escape(template.replace("{pool}", POOL))))


# The longest template first: `rq:worker:{worker}` would take its executions for a worker.
_PATTERNS: Final = [
    (key.name, _pattern(key.template)) for key in sorted(KEYS, key=lambda k: -len(k.template))
]


def _is_residue(name: str, failed: Collection[str]) -> bool:
    """Whether a key should be gone once all jobs have ended, or is none of ours."""
    if _RQ_WORKERS.fullmatch(name):
        return False
    kind = next((kind for kind, pattern in _PATTERNS if pattern.fullmatch(name)), "")
    is_kept = kind in _OF_FAILED and name.rpartition(":")[2] in failed
    return not kind or (kind in _GOES and not is_kept)

"""What a run leaves behind: memory and files of the api, and keys in Redis."""

import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from redis import Redis

from preble.broker.keys import KEYS

POOL: Final = "default"
_OF_A_JOB: Final = frozenset({"job", "results", "decision"})
"""Keys that stay as long as the job's result."""

_OF_UNFINISHED: Final = frozenset({
    "prompt", "block_keys", "leases", "tenants", "deadlines", "queue", "started", "execution",
    "executions", "worker_executions",
})  # fmt: skip
"""Keys that go with the last job that has not ended."""

_ENDED: Final = frozenset({"completed", "failed", "cancelled", "expired"})


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds."""

    rss_bytes: int
    open_files: int


def footprint(pid: int) -> Footprint:
    """Of a living process."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found, "a living process has memory"
    return Footprint(int(found[1]) * 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())))


def open_jobs(redis: Redis) -> int:
    """Jobs that have not ended, by the queue's own count."""
    return int(redis.hget(f"preble:{POOL}:counts", "jobs") or 0)


def job_states(redis: Redis) -> dict[str, str]:
    """Every job that Redis knows, with its state."""
    ids = [key.removeprefix("rq:job:") for key in _keys(redis, "rq:job:*")]
    with redis.pipeline(transaction=False) as pipeline:
        for job_id in ids:
            pipeline.hget(f"rq:job:{job_id}", "preble_state")
        return dict(zip(ids, pipeline.execute(), strict=True))


def lost(states: dict[str, str], accepted: Iterable[str]) -> list[str]:
    """Accepted jobs that are unknown or have not ended."""
    return [each for each in accepted if states.get(each) not in _ENDED]


def unexplained(redis: Redis, jobs: AbstractSet[str]) -> list[str]:
    """Keys that should not be there once all of these jobs have ended."""
    return sorted(key for key in _keys(redis, "*") if not _is_explained(key, jobs))


def _keys(redis: Redis, pattern: str) -> Iterator[str]:
    return cast("Iterator[str]", redis.scan_iter(pattern, count=1_000))


def _is_explained(key: str, jobs: AbstractSet[str]) -> bool:
    if key.startswith("rq:workers"):
        return True  # RQ's own lists of its workers
    names = {name for name, pattern in _PATTERNS.items() if pattern.fullmatch(key)}
    if names & _OF_A_JOB:
        return key.rpartition(":")[2] in jobs
    return bool(names) and not names & _OF_UNFINISHED


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{\w+\}", template.replace("{pool}", POOL))
    return re.compile(".+".join(re.escape(part) for part in parts))


_PATTERNS: Final = {key.name: _pattern(key.template) for key in KEYS}

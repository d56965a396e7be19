"""Facts of a pool in which all is well, for tests to put one thing wrong."""

from typing import Final

from msgspec.structs import replace
from support import POOL, record

from preble.broker.facts import (
    BlockEventFacts,
    Facts,
    IngressFacts,
    InstanceFacts,
    JobFacts,
    PoolFacts,
    ServerFacts,
)
from preble.config import Settings
from preble.doctor import Finding, examine
from preble.messages import InstanceId

MIB: Final = 1024**2

SERVER: Final = ServerFacts(
    software="Redis", version="7.2.4", mode="standalone", role="master", replicas=0,
    is_append_only=True, appendfsync="everysec", failing_writes=(), maxmemory_bytes=1000 * MIB,
    maxmemory_policy="noeviction", used_memory_bytes=100 * MIB, system_memory_bytes=4000 * MIB,
    evicted_keys=0, round_trips_ms=(0.2, 0.3, 1.5), slow_commands=(),
)  # fmt: skip

EVENTS: Final = BlockEventFacts(
    batches=4000, most_batches=4096, last_seq=4100, snapshot_seq=4000, is_taken_over=False
)

INSTANCE: Final = InstanceFacts(
    instance_id=InstanceId("gpu0"), record=record(), lease_left_s=9.0, assigned_jobs=2,
    running_jobs=3, heartbeat_ago_s=1.0, events=EVENTS,
)  # fmt: skip

JOBS: Final = JobFacts(
    ingresses=(IngressFacts("normal", "acme", 5, 1.0),), stranded=(), leases=3, released=0,
    overdue=0, overdue_sample=(), late=0, counted=10, prompt_bytes=1000,
    ended_bytes=500, recounted_ended_bytes=500, is_whole=True,
    sampled=10, damaged=(), longest_run_s=4.0, totals={"completed": 7},
)  # fmt: skip

EMPTY: Final = replace(JOBS, ingresses=(), leases=0, counted=0, longest_run_s=None)

WELL: Final = PoolFacts(record=POOL, leader_lease_s=2.5, terms=1, instances=(INSTANCE,), jobs=JOBS)

SETTINGS: Final = Settings(
    max_jobs=100, max_prompt_bytes=10_000, max_ingresses=10, max_run_s=60,
    max_ended_bytes=10_000,
)  # fmt: skip


def findings(facts: ServerFacts | PoolFacts) -> list[Finding]:
    """All findings about a server or a pool; the other one is well."""
    if isinstance(facts, ServerFacts):
        return examine(Facts(facts, WELL), SETTINGS)
    return examine(Facts(SERVER, facts), SETTINGS)


def problems(facts: ServerFacts | PoolFacts) -> list[Finding]:
    """All findings but notes."""
    return [finding for finding in findings(facts) if finding.level != "note"]


def notes(facts: ServerFacts | PoolFacts) -> list[str]:
    """What the notes saw."""
    return [finding.seen for finding in findings(facts) if finding.level == "note"]


def only(facts: ServerFacts | PoolFacts) -> Finding:
    """The one finding that is not a note."""
    (finding,) = problems(facts)
    return finding

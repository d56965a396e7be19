"""What a failover has lost, and what the next one would lose."""

from collections.abc import Iterator
from typing import Final

from preble.broker.facts import Facts, RollbackFacts, ServerFacts
from preble.config import Settings
from preble.doctor.findings import Finding, lasting, several

RECENT_S: Final = 24 * 3_600.0
"""So long a loss is worth a look at what is missing."""


def examine(facts: Facts, settings: Settings) -> Iterator[Finding]:
    """Findings about replicas and lost writes."""
    if facts.pool and facts.pool.rollback:
        yield _rollback(facts.pool.rollback)
    if settings.durability == "replicated" and facts.server.role == "master":
        yield from _replicated(facts.server)


def _rollback(rollback: RollbackFacts) -> Finding:
    lost_s = rollback.lost_s
    lost = "all that it held" if lost_s is None else f"writes of at most {lasting(lost_s)}"
    return Finding(
        "warning" if rollback.ago_s < RECENT_S else "note", "redis",
        f"Redis lost {lost}, noticed {lasting(rollback.ago_s)} ago; "
        f"{several(rollback.rollbacks, 'loss', 'es')} so far",
        "Jobs accepted then may be gone; jobs that ended then may have run again.",
        "submit again what is missing, under the same Idempotency-Key; "
        "PREBLE_DURABILITY=replicated at the apis",
    )  # fmt: skip


def _replicated(server: ServerFacts) -> Iterator[Finding]:
    if not server.replicas:
        yield Finding(
            "broken", "redis", "durability is replicated, and no replica is connected",
            "No write can be confirmed: submits get 503.",
            "start a replica with `appendonly yes`, or set PREBLE_DURABILITY=local",
        )  # fmt: skip
    if not server.is_append_only:
        yield Finding(
            "broken", "redis", "durability is replicated, and appendonly is off",
            "No write can be confirmed: submits get 503.",
            "redis-cli CONFIG SET appendonly yes, here and on the replicas",
        )  # fmt: skip
    if server.min_replicas_to_write == 0:
        yield Finding(
            "warning", "redis", "durability is replicated, and min-replicas-to-write is 0",
            "A primary that was cut off takes results and jobs that the next one will not know.",
            "redis-cli CONFIG SET min-replicas-to-write 1, here and on the replicas",
        )  # fmt: skip

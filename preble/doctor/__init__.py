"""Judges what was seen of a pool and its Redis: each finding with its remedy.

    Facts ─┬─▶ redis_rules        the server
           ├─▶ pool_rules         leader and instances   ─▶ findings, the worst first
           ├─▶ job_rules          what waits, runs or is stuck
           ├─▶ failover_rules     what a failover lost, or would lose
           └─▶ event_rules        block events

Pure: the facts come from `preble.broker.redis_facts`, and `preble doctor` prints the findings.
What Redis does not know is not judged: engines' own health, standby schedulers, apis.
"""

from collections.abc import Iterable

from preble.broker.facts import Facts
from preble.config import Settings
from preble.doctor import event_rules, failover_rules, job_rules, pool_rules, redis_rules
from preble.doctor.findings import LEVELS, Finding, Level

__all__ = ["LEVELS", "Finding", "Level", "examine", "worst"]


def examine(facts: Facts, settings: Settings) -> list[Finding]:
    """All findings, the worst first.

    Args:
        facts: One look at the pool.
        settings: Whose bounds the pool is measured by; those of its apis, if the environment
            is theirs.
    """
    findings = [*redis_rules.examine(facts.server), *failover_rules.examine(facts, settings)]
    if facts.pool:
        findings += pool_rules.examine(facts.pool, settings.pool)
        findings += job_rules.examine(facts.pool, settings)
        findings += event_rules.examine(facts.pool.instances)
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def worst(findings: Iterable[Finding]) -> Level:
    """The level of the worst finding; `note` if there is none."""
    levels = {finding.level for finding in findings}
    for level in LEVELS:
        if level in levels:
            return level
    return "note"

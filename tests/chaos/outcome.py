"""What came of a run, and how it reads."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Final

import msgspec
from chaos.checker import Offence
from chaos.injector import Done
from chaos.memory import Sample, growths
from chaos.records import Entry, Remains, Submitted, accepted_ids, history, submissions

from preble.messages import JobState

NO_PAUSE_AFTER_S: Final = 2.0
"""A pause that begins later after a fault was healed is not that fault's."""
_SHOWN: Final = 10
_MEGA: Final = 1_000_000


class Outcome(msgspec.Struct, frozen=True):
    """All that is told of a run."""

    title: str
    took_s: float
    entries: Sequence[Entry]
    final: Remains
    faults: Sequence[Done]
    samples: list[Sample]
    skipped: dict[str, str]
    offences: Sequence[Offence]
    notes: tuple[str, ...] = ()


def report(outcome: Outcome) -> str:
    """For people; figures only."""
    lines = [
        f"{outcome.title}: {outcome.took_s:,.0f} s",
        _jobs_line(outcome),
        _requests_line(outcome.entries),
        *outcome.notes,
        *_fault_lines(outcome),
        *(f"skipped: {kind}: {why}" for kind, why in outcome.skipped.items()),
        *_memory_lines(outcome.samples),
        *_offence_lines(outcome),
    ]
    return "\n".join(lines)


def pauses_s(faults: Iterable[Done], ended_at_s: Sequence[float]) -> dict[str, list[float]]:
    """For each kind of fault, how long the pool completed no job because of each.

    Args:
        faults: That were done.
        ended_at_s: When jobs were completed, in order.

    Returns:
        The longest stretch without a completed job that overlaps each fault, or begins within
        `NO_PAUSE_AFTER_S` after it was healed. Faults at the same time share one pause.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for fault in faults:
        first = max(0, bisect_left(ended_at_s, fault.begun_at_s) - 1)
        last = bisect_left(ended_at_s, fault.healed_at_s + NO_PAUSE_AFTER_S)
        times = ended_at_s[first : last + 1]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        found[fault.kind].append(max(gaps, default=0.0))
    return found


def _jobs_line(outcome: Outcome) -> str:
    jobs = outcome.final.jobs.values()
    states = Counter(job.state for job in jobs)
    by_state = ", ".join(f"{states[state]:,} {state}" for state in JobState if states[state])
    again = outcome.final.totals.get("requeued", 0)
    most = max((job.attempt for job in jobs), default=0)
    number = len(accepted_ids(outcome.entries))
    return (
        f"{number:,} jobs accepted: {by_state}; taken back {again:,} times, at most {most} attempts"
    )


def _requests_line(entries: Sequence[Entry]) -> str:
    statuses = Counter(each.status for each in submissions(entries))
    by_status = ", ".join(
        f"{number:,} x {status or 'no answer'}" for status, number in sorted(statuses.items())
    )
    return f"submissions: {by_status}; {len(entries):,} requests in all"


def _fault_lines(outcome: Outcome) -> list[str]:
    if not outcome.faults:
        return []
    jobs = outcome.final.jobs.values()
    completed = sorted(
        job.ended_ms / 1000 for job in jobs if job.ended_ms and job.state is JobState.COMPLETED
    )
    found = pauses_s(outcome.faults, completed)
    lines = ["| fault | number | no job completed for, s: median | most |", "|---|---|---|---|"]
    lines += [
        f"| {kind} | {len(each)} | {median(each):.1f} | {max(each):.1f} |"
        for kind, each in sorted(found.items())
    ]
    return [*lines, f"{len(outcome.faults)} faults of {len(found)} kinds"]


def _memory_lines(samples: list[Sample]) -> list[str]:
    held = [
        f"{each.name} {each.second_bytes / _MEGA:.0f} → {each.last_bytes / _MEGA:.0f}"
        for each in growths(samples)
    ]
    return [f"memory, MB, second → last quarter: {', '.join(held)}"] if held else []


def _offence_lines(outcome: Outcome) -> list[str]:
    rules = Counter(each.rule for each in outcome.offences)
    named = ("lost", "duplicated", "stuck")
    lines = [", ".join(f"{rules.pop(rule, 0)} {rule}" for rule in named)]
    lines += [f"{number} x {rule}" for rule, number in rules.items()]
    for each in outcome.offences[:_SHOWN]:
        lines.append(f"! {each.rule}: {each.job_id} {each.detail}")
        lines += [f"    {_told(entry)}" for entry in _history(outcome, each.job_id)]
    return lines


def _history(outcome: Outcome, job_id: str) -> list[Entry]:
    return history(outcome.entries, job_id)[-_SHOWN:] if job_id else []


def _told(entry: Entry) -> str:
    """One line of a job's history; of its batch only the key."""
    if isinstance(entry, Submitted):
        return f"{entry.asked_at_s:.3f} submitted under {entry.key}: {entry.status} {entry.code}"
    state = f"{entry.state or ''} {entry.code} attempt {entry.attempt}"
    times = f"started {entry.started_at_s} ended {entry.ended_at_s}"
    return f"{entry.asked_at_s:.3f} {entry.asked} {entry.api}: {entry.status} {state} {times}"

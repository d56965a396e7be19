"""What must hold of a run, whatever broke in it. Pure: the log and the final state go in.

Order within a tenant is not looked at: late binding picks among the waiting by their prefixes.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

import msgspec
from chaos.records import (
    NO_ANSWER,
    Entry,
    FinalJob,
    Remains,
    Seen,
    Submitted,
    accepted_ids,
    looks,
    submissions,
)

from preble.messages import JobState

EXPECTED_STATUSES: Final = {
    "submit": frozenset({NO_ANSWER, 202, 429, 503}),
    "look": frozenset({NO_ANSWER, 200, 503}),
    "cancel": frozenset({NO_ANSWER, 200, 503}),
}


class Offence(msgspec.Struct, frozen=True):
    """A rule that was broken, and by which job, if by one."""

    rule: str
    job_id: str
    detail: str


def check(
    entries: Sequence[Entry], final: Remains, *, may_fail: Collection[str] = ()
) -> list[Offence]:
    """All rules.

    Args:
        entries: What clients asked and were told.
        final: What Redis holds, after all was healed and had its time to end.
        may_fail: Jobs that are meant to fail.

    Returns:
        What broke them; empty if all is well. Cost: O(entries + jobs).
    """
    jobs = final.jobs.values()
    return [
        *_answers(entries),
        *_keys(entries),
        *_lost_or_strange(accepted_ids(entries), final),
        *_stuck(jobs),
        *_failed(jobs, may_fail),
        *_results(jobs),
        *_late_starts(jobs),
        *_changed(looks(entries), final),
        *_seen_badly(looks(entries)),
        *_totals(final),
        *_left_over(final),
    ]


def _answers(entries: Iterable[Entry]) -> Iterator[Offence]:
    for each in entries:
        asked, about = ("submit", each.key) if isinstance(each, Submitted) else (
            each.asked, each.job_id,
        )  # fmt: skip
        if each.status not in EXPECTED_STATUSES[asked]:
            yield Offence("answers", about, f"{asked} was answered {each.status} {each.code}")
        if isinstance(each, Submitted) and each.status in {429, 503} and not each.retry_after_s:
            yield Offence("answers", about, f"{each.status} without Retry-After")


def _keys(entries: Iterable[Entry]) -> Iterator[Offence]:
    """One key, one list of jobs, however often it came; and no job under two keys."""
    ids_of: dict[str, tuple[str, ...]] = {}
    for each in submissions(entries):
        if each.job_ids and ids_of.setdefault(each.key, each.job_ids) != each.job_ids:
            yield Offence("duplicated", each.key, "a repeated request was answered with other jobs")
    owners = Counter(job_id for ids in ids_of.values() for job_id in ids)
    for job_id, number in owners.items():
        if number > 1:
            yield Offence("duplicated", job_id, "two requests were answered with this job")


def _lost_or_strange(accepted: set[str], final: Remains) -> Iterator[Offence]:
    for job_id in accepted - final.jobs.keys():
        yield Offence("lost", job_id, "answered 202, and Redis does not know it")
    for job_id in final.jobs.keys() - accepted:
        state = final.jobs[job_id].state
        yield Offence("refused", job_id, f"nobody was told 202, and it is {state}")


def _stuck(jobs: Iterable[FinalJob]) -> Iterator[Offence]:
    for job in jobs:
        if not job.state.is_terminal:
            yield Offence("stuck", job.job_id, f"still {job.state} after {job.attempt} attempts")


def _failed(jobs: Iterable[FinalJob], may_fail: Collection[str]) -> Iterator[Offence]:
    for job in jobs:
        if job.state is JobState.FAILED and job.job_id not in may_fail:
            yield Offence("failed", job.job_id, f"{job.failure}, after {job.attempt} attempts")
    ended = {job.job_id: job.state for job in jobs}
    for job_id in may_fail:
        if ended.get(job_id) is not JobState.FAILED:
            yield Offence("poison", job_id, f"is {ended.get(job_id)}, and should have failed")


def _results(jobs: Iterable[FinalJob]) -> Iterator[Offence]:
    for job in jobs:
        successes = 1 if job.state is JobState.COMPLETED else 0
        if job.successes != successes or job.results > 1:
            detail = f"{job.state} with {job.results} results, {job.successes} of them good"
            yield Offence("duplicated", job.job_id, detail)
        if job.state.is_terminal and not job.has_expiry:
            yield Offence("residue", job.job_id, "has ended and will never expire")


def _late_starts(jobs: Iterable[FinalJob]) -> Iterator[Offence]:
    for job in jobs:
        if job.deadline_ms and job.started_ms and job.started_ms > job.deadline_ms:
            late_ms = job.started_ms - job.deadline_ms
            yield Offence("late start", job.job_id, f"begun {late_ms} ms after its deadline")


def _changed(seen: Iterable[Seen], final: Remains) -> Iterator[Offence]:
    """What was once said to have ended stays as it is."""
    ends: dict[str, Seen] = {}
    running: dict[str, list[Seen]] = defaultdict(list)
    for each in seen:
        if each.has_ended:
            yield from _compared(each, ends.setdefault(each.job_id, each), final)
        elif each.state:
            running[each.job_id].append(each)
    for job_id, end in ends.items():
        if any(each.asked_at_s > end.at_s for each in running[job_id]):
            yield Offence("changed", job_id, f"was {end.state}, and later had not ended")


def _compared(each: Seen, first: Seen, final: Remains) -> Iterator[Offence]:
    if (each.state, each.ended_at_s) != (first.state, first.ended_at_s):
        yield Offence("changed", each.job_id, f"was {first.state}, later {each.state}")
    kept = final.jobs.get(each.job_id)
    if kept and kept.state is not each.state:
        yield Offence("changed", each.job_id, f"was {each.state}, is {kept.state} in the end")


def _seen_badly(seen: Iterable[Seen]) -> Iterator[Offence]:
    for each in seen:
        if each.engine_s is not None and each.state is not JobState.COMPLETED:
            yield Offence("result", each.job_id, f"is {each.state} and shows a result")
        started, deadline = each.started_at_s, each.deadline_at_s
        if started and deadline and started > deadline:
            yield Offence("late start", each.job_id, f"begun at {started}, deadline {deadline}")


def _totals(final: Remains) -> Iterator[Offence]:
    states = Counter(job.state for job in final.jobs.values())
    for state in JobState:
        if state.is_terminal and states[state] != final.totals.get(state, 0):
            detail = f"{states[state]} jobs are {state}, counted {final.totals.get(state, 0)}"
            yield Offence("totals", "", detail)


def _left_over(final: Remains) -> Iterator[Offence]:
    for key in final.residue:
        yield Offence("residue", "", f"{key} is left")
    for what, number in final.held.items():
        if number:
            yield Offence("residue", "", f"{what} counts {number} though all has ended")

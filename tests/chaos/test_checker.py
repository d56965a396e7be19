"""Each rule of the checker finds what breaks it, and is content with a run that is well."""

from collections.abc import Sequence

import pytest
from chaos.checker import check
from chaos.records import Entry, FinalJob, Remains, Seen, Submitted, history
from msgspec.structs import replace

from preble.messages import JobState

SUBMITTED = Submitted(10.0, 10.1, "k1", "api0", 202, ("j1", "j2"))
LOOK = Seen(
    12.0, 12.1, "j1", "look", "api0", 200, state=JobState.COMPLETED, started_at_s=11.0,
    ended_at_s=11.5, deadline_at_s=15.0, engine_s=0.3,
)  # fmt: skip
CANCEL = Seen(
    10.5, 10.6, "j2", "cancel", "api1", 200, state=JobState.CANCELLED, ended_at_s=10.55
)  # fmt: skip
WELL: tuple[Entry, ...] = (SUBMITTED, CANCEL, LOOK)
COMPLETED = FinalJob(
    "j1", JobState.COMPLETED, 1, 11_000, 11_500, 15_000, "", results=1, successes=1, has_expiry=True
)
CANCELLED = FinalJob(
    "j2", JobState.CANCELLED, 0, None, 10_550, None, "", results=0, successes=0, has_expiry=True
)


def remains(*jobs: FinalJob, **totals: int) -> Remains:
    return Remains(
        {job.job_id: job for job in jobs}, totals or {"completed": 1, "cancelled": 1},
        {"jobs": 0, "prompt bytes": 0}, [],
    )  # fmt: skip


LEFT = remains(COMPLETED, CANCELLED)


def rules(entries: Sequence[Entry], final: Remains = LEFT) -> list[tuple[str, str]]:
    return [(each.rule, each.job_id) for each in check(entries, final)]


def test_a_run_that_is_well() -> None:
    assert rules(WELL) == []


def test_a_job_that_was_accepted_and_is_gone_is_lost() -> None:
    assert ("lost", "j2") in rules(WELL[:1], remains(COMPLETED, completed=1))


def test_a_job_that_nobody_was_told_of_should_not_be_there() -> None:
    refused = replace(SUBMITTED, status=429, job_ids=(), retry_after_s=1.0)
    assert rules([refused], remains(COMPLETED, completed=1)) == [("refused", "j1")]


def test_a_job_that_has_not_ended_is_stuck() -> None:
    running = replace(COMPLETED, state=JobState.RUNNING, results=0, successes=0)
    assert ("stuck", "j1") in rules(WELL[:2], remains(running, CANCELLED, cancelled=1))


def test_a_job_fails_only_if_it_is_meant_to() -> None:
    failed = replace(COMPLETED, state=JobState.FAILED, successes=0, failure="attempts_used_up")
    final = remains(failed, CANCELLED, failed=1, cancelled=1)
    assert rules(WELL[:2], final) == [("failed", "j1")]
    assert check(WELL[:2], final, may_fail={"j1"}) == []


def test_poison_that_did_no_harm_was_none() -> None:
    assert [each.rule for each in check(WELL, LEFT, may_fail={"j1"})] == ["poison"]


@pytest.mark.parametrize(
    ("job", "results", "successes"),
    [(COMPLETED, 0, 0), (COMPLETED, 2, 2), (COMPLETED, 2, 1), (CANCELLED, 1, 1), (CANCELLED, 2, 0)],
)
def test_one_result_where_it_completed_and_none_elsewhere(
    job: FinalJob, results: int, successes: int
) -> None:
    other = CANCELLED if job is COMPLETED else COMPLETED
    wrong = replace(job, results=results, successes=successes)
    assert rules(WELL, remains(wrong, other)) == [("duplicated", job.job_id)]


def test_an_ended_job_expires() -> None:
    final = remains(replace(COMPLETED, has_expiry=False), CANCELLED)
    assert rules(WELL, final) == [("residue", "j1")]


def test_nothing_begins_after_its_deadline() -> None:
    late = replace(COMPLETED, started_ms=15_001)
    assert rules(WELL, remains(late, CANCELLED)) == [("late start", "j1")]
    assert rules([*WELL, replace(LOOK, started_at_s=15.1)]) == [("late start", "j1")]


@pytest.mark.parametrize(
    "later",
    [
        replace(LOOK, asked_at_s=13.0, state=JobState.CANCELLED, engine_s=None),
        replace(LOOK, asked_at_s=13.0, ended_at_s=12.5),
        replace(LOOK, asked_at_s=13.0, state=JobState.RUNNING, ended_at_s=None, engine_s=None),
    ],
    ids=["another end", "another time", "no end any more"],
)
def test_an_end_stays_as_it_is(later: Seen) -> None:
    assert ("changed", "j1") in rules([*WELL, later])


def test_an_answer_that_was_under_way_may_be_older() -> None:
    """Asked before the end was told, though answered after."""
    older = replace(LOOK, asked_at_s=12.05, state=JobState.RUNNING, ended_at_s=None, engine_s=None)
    assert rules([*WELL, replace(older, at_s=14.0)]) == []


def test_what_was_told_is_what_is_kept() -> None:
    kept = replace(COMPLETED, state=JobState.EXPIRED, successes=0)
    assert ("changed", "j1") in rules(WELL, remains(kept, CANCELLED, expired=1, cancelled=1))


def test_a_cancelled_job_shows_no_result() -> None:
    assert rules([*WELL, replace(CANCEL, engine_s=0.2)]) == [("result", "j2")]


def test_one_key_is_one_list_of_jobs() -> None:
    again = replace(SUBMITTED, job_ids=("j1", "j3"))
    assert ("duplicated", "k1") in rules([*WELL, again])
    assert ("duplicated", "j1") in rules([*WELL, replace(SUBMITTED, key="k2", job_ids=("j1",))])
    assert rules([*WELL, replace(SUBMITTED, asked_at_s=20.0)]) == []


@pytest.mark.parametrize(
    "strange",
    [replace(SUBMITTED, status=500), replace(LOOK, status=404), replace(CANCEL, status=410)],
)
def test_an_answer_that_no_client_can_live_with(strange: Entry) -> None:
    assert "answers" in [rule for rule, _ in rules([*WELL, strange])]


def test_a_refusal_says_when_to_come_back() -> None:
    refusal = Submitted(10.0, 10.1, "k2", "api0", 503, code="queue_unavailable")
    assert rules([*WELL, refusal]) == [("answers", "k2")]
    assert rules([*WELL, replace(refusal, retry_after_s=2.0)]) == []


def test_totals_are_those_of_the_jobs() -> None:
    assert rules(WELL, remains(COMPLETED, CANCELLED, completed=2, cancelled=1)) == [("totals", "")]


def test_nothing_is_left() -> None:
    left = replace(LEFT, residue=["preble:default:leases"], held={"jobs": 0, "prompt bytes": 7})
    assert rules(WELL, left) == [("residue", ""), ("residue", "")]


def test_the_history_of_a_job_has_its_submission_and_all_looks() -> None:
    assert history(WELL, "j1") == [SUBMITTED, LOOK]

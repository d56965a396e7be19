"""Why a job went where it went: what each stage knows, and the verdict in words."""

import pytest
from msgspec.structs import replace
from support import assignment, completed, submission

from preble.explanation import explain
from preble.messages import (
    Assignment,
    ExecutionId,
    HitPrediction,
    InstanceId,
    JobFailure,
    JobId,
    JobResult,
    JobState,
    JobView,
    Lease,
    Weighing,
)

JOB = submission("j", prompt_tokens=1_000, tenant="acme")
WEIGHED = Weighing(
    [InstanceId("gpu0"), InstanceId("gpu1")], [0, 128], load_s=[0.1, 2.0], prefill_s=[0.5, 0.4],
    outstanding=[1, 9],
)  # fmt: skip

ELSEWHERE = "gpu1 held 128 with 2.4 s of load and prefill, against 0.6 on gpu0"


def view(
    state: JobState, made: Assignment | None = None, result: JobResult | None = None
) -> JobView:
    return JobView(
        JOB.job_id, state, JOB.spec, attempt=0, submitted_at_s=0.0, position=3, assignment=made,
        result=result, failure=JobFailure("cancelled", "x") if state.is_terminal else None,
    )  # fmt: skip


def made(available: int, predicted: int, weighed: Weighing = WEIGHED) -> Assignment:
    return replace(
        assignment(JOB), available_hit_tokens=available, resident_hit_tokens=predicted,
        expected_hit_tokens=0, weighed=weighed,
    )  # fmt: skip


def result(delivered: int, at_start: int = 0) -> JobResult:
    found = completed(Lease(JobId("j"), ExecutionId("e"))).result
    assert found
    return replace(
        found, prompt_tokens=1_000, cached_tokens=delivered, prediction=HitPrediction(at_start)
    )


def test_what_waits_says_what_for() -> None:
    told = explain(view(JobState.WAITING), instances=2)
    assert (told.verdict, told.instance, told.candidates) == ("waiting", None, ())
    assert told.waiting
    assert (told.waiting.position, told.waiting.instances) == (3, 2)
    assert told.waiting.share == pytest.approx(4 / 21)  # high 16, normal 4, batch 1
    assert told.summary.startswith("3 jobs ahead in its queue (priority normal, tenant acme)")


def test_without_an_instance_no_turn_helps() -> None:
    told = explain(view(JobState.WAITING), instances=0)
    assert told.summary.startswith("no instance is registered")


def test_what_killed_two_workers_says_that_it_waits_to_run_alone() -> None:
    told = explain(replace(view(JobState.WAITING), attempt=2), instances=2)
    assert told.waiting
    assert told.waiting.runs_alone
    assert "to itself" in told.summary


def test_a_job_taken_back_is_not_explained_by_its_last_placement() -> None:
    told = explain(view(JobState.WAITING, made(128, 128)))
    assert (told.verdict, told.instance, told.hit_tokens) == ("waiting", None, None)


@pytest.mark.parametrize("state", [JobState.ASSIGNED, JobState.RUNNING])
def test_what_is_placed_says_where_and_what_was_weighed(state: JobState) -> None:
    told = explain(view(state, made(128, 64)))
    assert (told.verdict, told.instance, told.policy, told.reason) == (
        "placed", "gpu0", "e2", "exploit",
    )  # fmt: skip
    assert told.summary == f"{state} on gpu0, 64 hit tokens predicted there, 128 at the best"
    assert [(each.instance_id, each.hit_tokens, each.load_s) for each in told.candidates] == [
        ("gpu0", 0, 0.1), ("gpu1", 128, 2.0),
    ]  # fmt: skip
    assert told.hit_tokens
    assert (told.hit_tokens.at_start, told.hit_tokens.delivered) == (None, None)


@pytest.mark.parametrize(
    ("available", "predicted", "at_start", "delivered", "verdict", "words"),
    [
        (128, 128, 128, 128, "hit", "128 of 1000 prompt tokens were reused"),
        (0, 0, 0, 0, "no_reuse", "no instance held the beginning of this prompt"),
        (128, 128, 0, 0, "evicted", "gpu0 had 0 left of 128 when the job began"),
        (128, 128, 128, 0, "evicted", "gpu0 lost the rest of 128 as the job was run"),
        (128, 0, 0, 0, "placed_elsewhere", ELSEWHERE),
    ],
)  # fmt: skip
def test_verdict_of_a_result(
    available: int, predicted: int, at_start: int, delivered: int, verdict: str, words: str
) -> None:
    told = explain(
        view(JobState.COMPLETED, made(available, predicted), result(delivered, at_start))
    )
    assert told.verdict == verdict
    assert words in told.summary
    assert told.hit_tokens
    assert (told.hit_tokens.at_start, told.hit_tokens.delivered) == (at_start, delivered)


def test_what_the_policy_minimized_is_what_it_is_told_by() -> None:
    costly = replace(WEIGHED, cost=[1.25, 9.5])
    told = explain(view(JobState.COMPLETED, made(128, 0, costly), result(0)))
    assert "gpu1 held 128 at a cost of 9.5, against 1.25 on gpu0" in told.summary


def test_a_record_without_candidates_still_has_a_reason() -> None:
    told = explain(view(JobState.COMPLETED, made(128, 0, Weighing()), result(0)))
    assert "placed elsewhere (exploit), while 128 were held" in told.summary


def test_an_end_without_a_result_is_told_with_where_it_came() -> None:
    early = explain(view(JobState.CANCELLED))
    assert (early.verdict, early.summary) == ("not_placed", "cancelled before it was placed")
    late = explain(view(JobState.FAILED, made(128, 64)))
    assert (late.verdict, late.instance) == ("no_result", "gpu0")
    assert late.summary.startswith("failed on gpu0")

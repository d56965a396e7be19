"""What the doctor says of jobs that wait, run or are stuck."""

import pytest
from doctor_support import EMPTY, INSTANCE, JOBS, WELL, notes, only, problems
from msgspec.structs import replace

from preble.broker.facts import (
    DamagedJob,
    IngressFacts,
    JobFacts,
    OverdueLease,
    PoolFacts,
    StrandedQueue,
)
from preble.messages import InstanceId, JobId


def with_jobs(**changes: object) -> PoolFacts:
    return replace(WELL, jobs=replace(JOBS, **changes))


def waiting(*queues: IngressFacts) -> JobFacts:
    """Nothing but these wait: none is assigned or runs."""
    return replace(EMPTY, ingresses=queues, counted=sum(queue.jobs for queue in queues))


def test_jobs_are_counted_by_state() -> None:
    pool = with_jobs(totals={"completed": 1234, "failed": 1, "hit_tokens_available": 9})

    assert "5 waiting, 2 assigned, 3 running; so far 1,234 completed, 1 failed" in notes(pool)
    none = with_jobs(totals={})
    assert "5 waiting, 2 assigned, 3 running; so far none has ended" in notes(none)


@pytest.mark.parametrize(
    ("prompt_bytes", "level"), [(8_000, None), (8_001, "warning"), (10_000, "broken")]
)
def test_a_bound_is_told_from_four_fifths_on(prompt_bytes: int, level: str | None) -> None:
    found = problems(with_jobs(prompt_bytes=prompt_bytes))

    assert [finding.level for finding in found] == ([level] if level else [])
    if found:
        assert "of prompts of at most 9.766 KiB" in found[0].seen
        assert "PREBLE_MAX_PROMPT_BYTES" in found[0].remedy


@pytest.mark.parametrize(("counted", "level"), [(81, "warning"), (100, "broken")])
def test_a_pool_full_of_jobs_refuses_more(counted: int, level: str) -> None:
    ingress = IngressFacts("normal", "acme", counted - 5, 1.0)

    finding = only(with_jobs(counted=counted, ingresses=(ingress,)))

    assert (finding.level, finding.seen) == (level, f"{counted} jobs of at most 100")
    assert "PREBLE_MAX_JOBS" in finding.remedy


def test_many_tenants_reach_a_bound_of_their_own() -> None:
    queues = tuple(IngressFacts("normal", f"t{number}", 1, 1.0) for number in range(9))

    finding = only(with_jobs(ingresses=queues, counted=14))

    assert finding.seen == "9 ingress queues of at most 10"
    assert "PREBLE_MAX_INGRESSES" in finding.remedy


def test_overdue_leases_name_jobs_and_instances_but_not_all() -> None:
    leases = tuple(
        OverdueLease(JobId(f"j{number}"), InstanceId("gpu0"), 30.0 - number) for number in range(3)
    )
    unknown = OverdueLease(JobId("j9"), None, 3.0)

    finding = only(with_jobs(overdue=7, overdue_sample=(*leases, unknown)))

    assert finding.level == "warning"
    assert finding.seen == ("7 leases overdue by up to 30.0 s, on gpu0: j0, j1, j2 and 4 more")


def test_jobs_that_were_handed_back_are_a_note() -> None:
    pool = with_jobs(released=2)

    assert problems(pool) == []
    assert "2 jobs handed back by workers" in notes(pool)


def test_a_deadline_that_nobody_keeps_is_warned_of() -> None:
    finding = only(with_jobs(late=1))

    assert (finding.level, finding.seen) == ("warning", "1 job past the deadline")


def test_jobs_of_an_instance_that_is_gone_are_stuck() -> None:
    stranded = (StrandedQueue(InstanceId("gpu7"), 4),)

    finding = only(with_jobs(stranded=stranded, counted=14))

    assert (finding.level, finding.seen) == ("broken", "4 jobs assigned to gpu7, which is gone")
    assert "--instance gpu7" in finding.remedy


def test_a_job_that_lacks_a_part_cannot_run() -> None:
    damaged = (
        DamagedJob(JobId("j1"), ("record",)),
        DamagedJob(JobId("j2"), ("prompt", "block keys")),
    )

    finding = only(with_jobs(damaged=damaged))

    assert finding.level == "broken"
    assert finding.seen == (
        "2 of 10 jobs looked at lack a part: j1 (record), j2 (prompt, block keys)"
    )


@pytest.mark.parametrize(
    ("counted", "seen", "correction"),
    [
        (13, "3 jobs counted, in no queue and under no lease", "jobs -3"),
        (9, "1 job queued, not counted", "jobs 1"),
    ],
)
def test_sums_must_add_up(counted: int, seen: str, correction: str) -> None:
    finding = only(with_jobs(counted=counted))

    assert (finding.level, finding.seen) == ("warning", seen)
    assert f"HINCRBY preble:default:counts {correction}" in finding.remedy


def test_sums_of_two_moments_prove_nothing() -> None:
    assert problems(with_jobs(counted=13, is_whole=False)) == []


@pytest.mark.parametrize("priority", ["high", "normal"])
def test_a_long_wait_asks_for_workers(priority: str) -> None:
    queues = (IngressFacts(priority, "a", 2, 601.0), IngressFacts(priority, "b", 3, 5.0))

    finding = only(with_jobs(ingresses=queues))

    assert finding.level == "warning"
    assert finding.seen == f"of 5 jobs of priority {priority} the oldest has waited 10 min"
    assert "add workers" in finding.remedy


def test_batch_jobs_may_wait() -> None:
    pool = with_jobs(ingresses=(IngressFacts("batch", "a", 5, 8000.0),))

    assert problems(pool) == []
    assert "of 5 jobs of priority batch the oldest has waited 2.2 h" in notes(pool)


def test_a_wait_of_ten_minutes_is_not_long_yet() -> None:
    pool = with_jobs(ingresses=(IngressFacts("high", "a", 5, 600.0),))

    assert problems(pool) == []
    assert not [note for note in notes(pool) if "waited" in note]


def test_idle_instances_beside_waiting_jobs_are_warned_of() -> None:
    idle = replace(INSTANCE, assigned_jobs=0, running_jobs=0)
    jobs = waiting(IngressFacts("normal", "a", 5, 30.0))

    finding = only(replace(WELL, instances=(idle,), jobs=jobs))

    assert finding.level == "warning"
    assert finding.seen == "5 jobs waiting for up to 30.0 s, and 1 instance with nothing to do"


@pytest.mark.parametrize("oldest_s", [29.9, None])
def test_instances_are_given_time_to_begin(oldest_s: float | None) -> None:
    idle = replace(INSTANCE, assigned_jobs=0, running_jobs=0)
    jobs = waiting(IngressFacts("normal", "a", 5, oldest_s))

    assert problems(replace(WELL, instances=(idle,), jobs=jobs)) == []


def test_an_instance_that_runs_something_is_not_idle() -> None:
    assert problems(with_jobs(ingresses=(IngressFacts("normal", "a", 5, 300.0),))) == []


def test_a_run_of_twice_the_longest_is_stuck() -> None:
    assert problems(with_jobs(longest_run_s=120.0)) == []

    finding = only(with_jobs(longest_run_s=121.0))

    assert (finding.level, finding.subject) == ("warning", "jobs")
    assert "claimed 2 min ago" in finding.seen
    assert "PREBLE_MAX_RUN_S" in finding.why


@pytest.mark.parametrize(("ended_bytes", "is_told"), [(8_000, False), (8_001, True)])
def test_what_has_ended_is_told_once_it_comes_near_its_bound(
    ended_bytes: int, *, is_told: bool
) -> None:
    pool = with_jobs(ended_bytes=ended_bytes, recounted_ended_bytes=ended_bytes)
    seen = [note for note in notes(pool) if "that have ended, of at most" in note]
    assert bool(seen) is is_told
    assert problems(pool) == []


def test_ended_jobs_that_are_counted_wrong_are_told() -> None:
    found = only(with_jobs(ended_bytes=700, recounted_ended_bytes=500))
    assert found.seen == "700 bytes of jobs that have ended counted, 500 there"
    assert found.remedy == "redis-cli HINCRBY preble:default:counts ended_bytes -200"
    assert problems(with_jobs(ended_bytes=700, recounted_ended_bytes=None)) == []

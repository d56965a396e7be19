"""Planned late binding with many queues: priorities, tenants, floods, and batch jobs."""

from collections import Counter

from plan_support import Counting, batch, decide, names, plan
from scheduler_support import GPU0, GPU1, Stage, waiting

from preble.fair_share import SHARES
from preble.messages import InstanceId, JobId
from preble.planning import MAX_PLANNED


def test_batch_jobs_go_in_the_order_in_which_they_wait() -> None:
    """Which puts side by side what shares a prefix; neither length nor age changes it."""
    stage = Stage("least_outstanding", instances=1, slots=3)
    window = [batch("aaaa", "aaaa"), batch("b", "b"), batch("cc", "cc", waited_s=1_000)]
    assert names(plan(stage, *window, credit_s=1)) == ["aaaa", "b", "cc"]


def test_no_more_batch_jobs_are_planned_than_have_use() -> None:
    policy = Counting()
    stage = Stage(policy, instances=2, slots=2)
    window = [batch(f"b{number}", chr(0x100 + number)) for number in range(1_000)]
    assert sorted(names(plan(stage, *window))) == ["b0", "b1", "b2", "b3"]
    assert policy.asked == 4


def test_jobs_behind_a_flood_of_batch_jobs_are_planned() -> None:
    """What the batch jobs took virtually does not hide them."""
    stage = Stage("least_outstanding", instances=1, slots=2)
    flood = [batch(f"b{number}", chr(0x100 + number)) for number in range(100)]
    moved = names(plan(stage, *flood, "xxxx", "y"))
    assert moved == ["y", "b0"]


# Among queues.


def test_the_urgent_job_goes_first_however_long_the_others_wait() -> None:
    stage = Stage("preble", instances=1, slots=1)
    normal = waiting("normal", "n", waited_s=1_000)
    high = waiting("high", "hhhhhhhh", priority="high")
    assert plan(stage, batch("batch", "b", waited_s=1_000), normal, high) == [("high", GPU0)]


def test_while_all_wait_priorities_get_sixteen_four_and_one() -> None:
    """Of 42 jobs that follow one another on one slot."""
    stage = Stage("least_outstanding", instances=1, slots=1)
    served = Counter[str]()
    for _ in range(42):
        window = [
            waiting(f"{kind}{served[kind]}", chr(0x100 * number + served[kind]), priority=kind)
            for number, kind in enumerate(SHARES, start=1)
        ]
        (moved,) = decide(stage, *window)
        stage.end(moved.job_id, GPU0)
        served[moved.job_id.rstrip("0123456789")] += 1
    assert served == {"high": 32, "normal": 8, "batch": 2}


def test_a_flood_of_one_tenant_does_not_hold_another_one_up() -> None:
    """Each job of the other goes in the plan it comes in, and in its turn: 80 + 45 tokens of it
    against 10 + 45, so it asks for less than half."""
    stage = Stage("preble", instances=1, slots=4)
    flood = [waiting(f"f{number}", chr(0x100 + number), tenant="flood") for number in range(1_000)]
    for number in range(5):
        quiet = waiting(f"q{number}", chr(0x1000 + number) * 8, tenant="quiet")
        moved = names(plan(stage, *flood, quiet, credit_s=1))
        assert f"q{number}" in moved[:2]
        assert len(moved) == 4
        del flood[:3]
        for each in moved:
            stage.end(JobId(each), GPU0)


def test_a_flood_beyond_what_is_planned_at_once_hides_nobody() -> None:
    policy = Counting()
    stage = Stage(policy, instances=1, slots=2)
    flood = [
        waiting(f"f{number}", chr(0x100 + number), tenant="flood")
        for number in range(MAX_PLANNED + 100)
    ]
    quiet = waiting("q", "qqqq", tenant="quiet")
    assert names(plan(stage, *flood, quiet)) == ["f0", "q"]
    assert policy.asked == MAX_PLANNED


def test_a_queue_that_was_passed_over_takes_another_instance() -> None:
    """gpu0 holds its prefix and has no credit, while others are served on gpu1, one after another:
    from the second on it is passed over, and after one for each instance it waits no longer."""
    stage = Stage("longest_prefix")
    stage.store(GPU0, "SSSS")
    stage.put(GPU0, "x" * 50)
    quiet = waiting("quiet", "SSSSu", tenant="quiet")
    moved = list[tuple[str, InstanceId]]()
    for number in range(6):
        flood = waiting(f"f{number}", chr(0x100 + number), tenant="flood")
        window = [flood] if ("quiet", GPU1) in moved else [flood, quiet]
        moved += plan(stage, *window, credit_s=0.005)
        stage.end(JobId(moved[-1][0]), GPU1)
    assert [job for job, _ in moved] == ["f0", "f1", "f2", "quiet", "f4", "f5"]
    assert {instance for _, instance in moved} == {GPU1}

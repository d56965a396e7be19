"""Planned late binding: what an instance has use for now moves, the rest waits.

Memory: a job needs its prompt, a mean output of 45 tokens and a block of 10 that it begins.
"""

import pytest
from plan_support import CREDIT_S, decide, names, plan
from scheduler_support import GPU0, GPU1, Stage, waiting

from preble.messages import JobId

# Credit.


def test_each_instance_takes_jobs_until_its_credit_is_spent() -> None:
    """40 ms each: an instance with 0 or 40 ms of backlog has credit, with 80 it has none."""
    stage = Stage("least_outstanding")
    moved = plan(stage, "aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff")
    assert sorted(moved) == [("aaaa", GPU0), ("bbbb", GPU1), ("cccc", GPU0), ("dddd", GPU1)]
    assert plan(stage, "eeee", "ffff") == []


def test_a_job_waits_for_the_instance_it_was_planned_for() -> None:
    """gpu0 holds its prefix and has no credit; gpu1 has, and gets the other job."""
    stage = Stage("longest_prefix")
    stage.store(GPU0, "SSSSSSSS")
    stage.put(GPU0, "xxxxxxxxxx")
    assert plan(stage, "SSSSSSSSu", "yyyy") == [("yyyy", GPU1)]


def test_computed_prompts_give_credit_back() -> None:
    stage = Stage("least_outstanding", instances=1)
    assert plan(stage, "aaaaaaaa") == [("aaaaaaaa", GPU0)]
    assert plan(stage, "bb") == []
    stage.store(GPU0, "aaaaaaaa")
    assert plan(stage, "bb") == [("bb", GPU0)]


@pytest.mark.parametrize(("slots", "taken"), [(2, 2), (15, 15), (16, 17), (32, 34)])
def test_an_instance_takes_hardly_more_jobs_than_it_can_run(slots: int, taken: int) -> None:
    stage = Stage("least_outstanding", instances=1, slots=slots)
    assert len(plan(stage, *(f"{number:02}" for number in range(40)), credit_s=9.0)) == taken
    assert not stage.scheduler.has_credit(9.0, now_s=0)


def test_a_plan_is_worth_it_while_half_of_an_instances_credit_is_left() -> None:
    stage = Stage("preble", instances=1)
    stage.put(GPU0, "xx")
    assert stage.scheduler.has_credit(CREDIT_S, now_s=0)
    stage.put(GPU0, "y")
    assert not stage.scheduler.has_credit(CREDIT_S, now_s=0)


@pytest.mark.parametrize(("jobs", "has_credit"), [(32, True), (33, False)])
def test_a_plan_is_worth_it_while_no_job_waits_for_a_slot(jobs: int, *, has_credit: bool) -> None:
    stage = Stage("preble", instances=1, slots=32)
    for _ in range(jobs):
        stage.put(GPU0, "", extra_tokens=1)
    assert stage.scheduler.has_credit(1.0, now_s=0) == has_credit


@pytest.mark.parametrize("prompt", ["aaa", ""], ids=["held", "shorter than a block"])
def test_a_prefill_that_stores_nothing_gives_its_credit_back_when_its_time_has_passed(
    prompt: str,
) -> None:
    """No event tells that it is over; the job may decode for long."""
    stage = Stage("least_outstanding", instances=1, slots=32)
    stage.store(GPU0, "aaa")
    jobs = [waiting(f"{number}", prompt, extra_tokens=9) for number in range(12)]
    taken = decide(stage, *jobs)
    assert 0 < len(taken) < len(jobs)
    left = jobs[len(taken) :]
    assert decide(stage, *left, now_s=0.01) == []
    assert len(decide(stage, *left, now_s=0.06)) == len(taken)


def test_a_prefill_that_stores_blocks_keeps_its_credit_until_they_are_stored() -> None:
    stage = Stage("least_outstanding", instances=1)
    stage.store(GPU0, "aa")
    assert plan(stage, "aaaaaaaaaa") == [("aaaaaaaaaa", GPU0)]
    assert decide(stage, "bb", now_s=60.0) == []


def test_nothing_is_planned_without_instances() -> None:
    stage = Stage("e2", instances=0)
    assert plan(stage, "aa") == []
    assert not stage.scheduler.has_credit(CREDIT_S, now_s=0)
    stage.join(GPU0)
    assert plan(stage, "aa") == [("aa", GPU0)]


def test_a_job_that_fills_no_block_is_planned_like_any_other() -> None:
    stage = Stage("preble", instances=1)
    assert plan(stage, waiting("short", "", extra_tokens=3)) == [("short", GPU0)]


# Within a queue.


def test_the_shortest_prefill_goes_first() -> None:
    stage = Stage("least_outstanding", instances=1)
    assert names(plan(stage, "aaaa", "bb", "ccc", "d")) == ["d", "bb", "ccc"]


def test_of_equals_the_first_that_came_goes_first() -> None:
    stage = Stage("least_outstanding", instances=1)
    assert names(plan(stage, "cc", "aa", "bb")) == ["cc", "aa", "bb"]


def test_what_is_held_is_no_work() -> None:
    stage = Stage("least_outstanding", instances=1)
    stage.store(GPU0, "SSSSSSSS")
    assert names(plan(stage, "bb", "SSSSSSSSu")) == ["SSSSSSSSu", "bb"]


@pytest.mark.parametrize(("waited_s", "first"), [(0.25, "bb"), (0.35, "aaaaaaaa")])
def test_a_long_job_that_has_waited_goes_before_a_short_one(waited_s: float, first: str) -> None:
    """60 ms longer: worth 0.3 s of waiting."""
    stage = Stage("least_outstanding", instances=1, slots=1)
    long = waiting("aaaaaaaa", "aaaaaaaa", waited_s=waited_s)
    assert names(plan(stage, "bb", long)) == [first]


@pytest.mark.parametrize("long_blocks", [500, 900])
@pytest.mark.parametrize(("waited_s", "first"), [(24, "b"), (26, "long")])
def test_beyond_five_seconds_a_job_waits_no_longer_for_shorter_ones(
    long_blocks: int, waited_s: float, first: str
) -> None:
    """5 or 9 s of prefill against 10 ms, on an engine of a thousand blocks."""
    stage = Stage("least_outstanding", instances=1, slots=1, capacity_blocks=1_000)
    long = waiting("long", "a" * long_blocks, waited_s=waited_s)
    assert names(plan(stage, "b", long)) == [first]


def test_short_jobs_that_keep_coming_do_not_hold_a_long_one_up() -> None:
    """100 ms against 10: worth 0.45 s of waiting."""
    stage = Stage("least_outstanding", instances=1, slots=1)
    served = list[str]()
    for number in range(12):
        long = waiting("long", "aaaaaaaaaa", waited_s=0.025 + number / 20)
        served += names(plan(stage, waiting(f"short{number}", chr(0x100 + number)), long))
        stage.end(JobId(served[-1]), GPU0)
    assert served[:9] == [f"short{number}" for number in range(9)]
    assert served[9] == "long"


# KV memory.


def test_a_job_that_does_not_fit_is_skipped_and_another_that_fits_goes() -> None:
    """Of 400 tokens `a` takes 40 + 55: of the 305 left 200 + 55 fit, 260 + 55 do not."""
    stage = Stage("least_outstanding", instances=1, capacity_blocks=40)
    stage.store(GPU0, "S" * 26)  # cached: short to prefill, and free memory none the less
    stage.put(GPU0, "aaaa")
    stage.store(GPU0, "aaaa")
    assert plan(stage, "S" * 26, "b" * 20) == [("b" * 20, GPU0)]


def test_what_did_not_fit_goes_when_there_is_room() -> None:
    stage = Stage("least_outstanding", instances=1, capacity_blocks=20)
    job = stage.put(GPU0, "aaaa")
    assert plan(stage, "b" * 6) == []
    stage.end(job, GPU0)
    assert plan(stage, "b" * 6) == [("b" * 6, GPU0)]


def test_an_empty_instance_takes_anything() -> None:
    stage = Stage("least_outstanding", instances=1, capacity_blocks=2)
    assert plan(stage, "aaaa") == [("aaaa", GPU0)]
    assert plan(stage, "b") == []


def test_what_jobs_share_needs_memory_once() -> None:
    """Of 200 tokens 80 + 55 are taken: a second job needs 10 + 55 beside the prefix, or 90 + 55."""
    stage = Stage("least_outstanding", instances=1, capacity_blocks=20)
    stage.put(GPU0, "SSSSSSSS")
    stage.store(GPU0, "SSSSSSSS")
    assert plan(stage, "u" * 9) == []
    assert plan(stage, "u" * 9, "SSSSSSSSu") == [("SSSSSSSSu", GPU0)]


def test_a_job_that_needs_much_memory_is_not_passed_for_ever() -> None:
    """Small ones keep coming, and two of them are always there: 10 minutes of it."""
    stage = Stage("least_outstanding", instances=1, capacity_blocks=20)
    running = [stage.put(GPU0, letter) for letter in "ab"]
    for number in range(600):
        big = waiting("big", "B" * 12, waited_s=number)
        stage.end(running.pop(0), GPU0)
        moved = plan(stage, big, waiting(f"small{number}", chr(0x100 + number)))
        running += [JobId(job) for job, _ in moved]
        if "big" in running:
            break
    assert "big" in running


# What a plan leaves behind.


def test_what_waits_is_a_place_in_the_tree_that_nobody_holds_hits_or_expects() -> None:
    stage = Stage("e2", instances=1)
    plan(stage, "aaaaaaaa")
    assert plan(stage, "bbbb") == []
    (node,) = [each for each in stage.scheduler.draw().nodes if each.blocks == 4]
    assert (node.held_blocks, node.hits, node.expected_jobs) == ({}, {}, {})


def test_a_job_that_leaves_the_window_is_forgotten() -> None:
    stage = Stage("e2")
    plan(stage, "aaaa", "bbbb", "cccc", "dddd")
    before = stage.scheduler.draw()
    plan(stage, "aaxx", "eeee", "ffff", "gggg")
    assert stage.scheduler.draw() != before
    plan(stage, "gggg")
    plan(stage)
    after = stage.scheduler.draw()
    assert sum(node.blocks for node in after.nodes) == sum(node.blocks for node in before.nodes)
    assert [node.first_key for node in after.nodes if not node.hits] == []


def test_hits_are_those_of_what_moved_not_of_what_was_planned() -> None:
    """Each is planned behind the other's prefix; the one that goes finds nothing there."""
    stage = Stage("least_outstanding", instances=1, slots=1)
    (moved,) = decide(stage, "SSSSu", "SSSSv")
    assert (moved.available_hit_tokens, moved.prefill_s) == (0, 0.05)


def test_what_moved_before_is_expected() -> None:
    stage = Stage("least_outstanding", instances=1)
    moved = decide(stage, "SSSSu", "SSSSv", credit_s=0.2)
    assert sorted(each.expected_hit_tokens for each in moved) == [0, 40]


def test_a_plan_names_its_policy_and_what_it_weighed() -> None:
    (moved,) = decide(Stage("preble"), "aaaa")
    assert (moved.policy, moved.reason) == ("preble", "least_delay")
    assert len([each.cost for each in moved.candidates if each.cost is not None]) == 2

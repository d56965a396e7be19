"""Planned late binding: what an instance has use for now moves, the rest waits."""

from scheduler_support import GPU0, GPU1, Stage, waiting

from preble.messages import InstanceId

CREDIT_S = 0.05


def plan(stage: Stage, *prompts: str, now_s: float = 0.0) -> list[tuple[str, InstanceId]]:
    jobs = [waiting(prompt, prompt) for prompt in prompts]
    final = stage.scheduler.plan(jobs, credit_s=CREDIT_S, now_s=now_s)
    return [(each.job_id, each.instance_id) for each in final]


def test_each_instance_takes_jobs_until_its_credit_is_spent() -> None:
    """40 ms each: an instance with 0 or 40 ms of backlog has credit, with 80 it has none."""
    stage = Stage("least_outstanding")
    moved = plan(stage, "aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff")
    assert moved == [("aaaa", GPU0), ("bbbb", GPU1), ("cccc", GPU0), ("dddd", GPU1)]
    assert plan(stage, "eeee", "ffff") == []


def test_what_was_only_planned_leaves_no_trace() -> None:
    stage = Stage("e2")
    plan(stage, "aaaa", "bbbb", "cccc", "dddd")
    before = stage.scheduler.draw()
    assert plan(stage, "eeee", "ffff", "gggg") == []
    assert stage.scheduler.draw() == before


def test_a_job_waits_for_the_instance_it_was_planned_for() -> None:
    """gpu0 holds its prefix and has no credit; gpu1 has, and gets the other job."""
    stage = Stage("longest_prefix")
    stage.store(GPU0, "SSSSSSSS")
    stage.put(GPU0, "xxxxxxxxxx")
    assert plan(stage, "SSSSSSSSu", "yyyy") == [("yyyy", GPU1)]


def test_computed_prompts_give_credit_back() -> None:
    stage = Stage("least_outstanding", instances=1)
    assert plan(stage, "aaaaaaaa", "bb") == [("aaaaaaaa", GPU0)]
    stage.store(GPU0, "aaaaaaaa")
    assert plan(stage, "bb") == [("bb", GPU0)]


def test_an_instance_takes_no_more_jobs_than_it_can_run() -> None:
    stage = Stage("least_outstanding", instances=1, slots=2)
    assert [job for job, _ in plan(stage, "a", "b", "c")] == ["a", "b"]


def test_nothing_is_planned_without_instances() -> None:
    assert plan(Stage("e2", instances=0), "aa") == []

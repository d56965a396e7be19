"""Planned late binding as time goes on: no plan without news, and what comes back or goes."""

import pytest
from plan_support import CREDIT_S, Counting, names, plan
from scheduler_support import GPU0, GPU1, Stage, stored

from preble.messages import InstanceId, JobId

# When there is no news.


def test_no_plan_is_made_twice_without_news() -> None:
    policy = Counting()
    stage = Stage(policy, instances=2, slots=1)
    stage.put(GPU0, "x")
    plan(stage, "aaaa", "bbbb", "cccc")
    assert policy.asked == 3
    for _ in range(5):
        plan(stage, "bbbb", "cccc")
    assert policy.asked == 3


def test_no_plan_is_made_twice_while_a_job_waits_for_an_instance_without_credit() -> None:
    """gpu1 has credit throughout; the jobs are planned for gpu0, which has fewer of them."""
    policy = Counting()
    stage = Stage(policy)
    stage.put(GPU0, "xxxxxx")
    stage.load(GPU1, 46)
    stage.load(GPU1, 46)
    for _ in range(5):
        assert plan(stage, "aaaa") == []
        assert stage.scheduler.has_credit(CREDIT_S, now_s=0)
    assert policy.asked == 1


@pytest.mark.parametrize("news", ["job", "end", "computed", "join", "leave", "requeued"])
def test_news_make_a_new_plan(news: str) -> None:
    policy = Counting()
    stage = Stage(policy)
    running = stage.put(GPU0, "xxxxxx")
    stage.load(GPU1, 46)
    stage.load(GPU1, 46)
    plan(stage, "aaaa")
    asked = policy.asked
    match news:
        case "job":
            plan(stage, "aaaa", "bbbb")
        case "end":
            stage.end(running, GPU0)
        case "computed":
            stage.tell(GPU0, stored("xxxxxx"))
        case "join":
            stage.join(InstanceId("gpu2"))
        case "leave":
            stage.scheduler.leave(GPU0)
        case _:
            stage.scheduler.forget(running)
    plan(stage, "aaaa")
    assert policy.asked > asked


# Jobs and instances that come back, or do not.


def test_a_job_whose_move_failed_is_planned_anew() -> None:
    stage = Stage("least_outstanding", instances=1, slots=1)
    for _ in range(3):
        assert plan(stage, "aaaa") == [("aaaa", GPU0)]
        stage.scheduler.forget(JobId("aaaa"))


def test_a_job_that_waits_again_counts_once() -> None:
    """It was placed on gpu0, came back unnoticed, and takes the slot it had itself."""
    stage = Stage("least_outstanding", instances=1, slots=1)
    plan(stage, "aaaa")
    assert plan(stage, "aaaa") == [("aaaa", GPU0)]
    assert stage.assign("probe").weighed.outstanding == [1]


def test_jobs_planned_for_an_instance_that_is_gone_go_elsewhere() -> None:
    stage = Stage("longest_prefix")
    stage.store(GPU0, "SSSS")
    stage.put(GPU0, "xxxxxxxxxx")
    assert plan(stage, "SSSSu") == []
    stage.scheduler.leave(GPU0)
    assert plan(stage, "SSSSu") == [("SSSSu", GPU1)]


def test_an_instance_that_takes_the_place_of_another_is_news() -> None:
    """One of three goes, and another one comes, before the next plan: nothing else happens."""
    stage = Stage("longest_prefix", instances=3)
    stage.store(GPU0, "SSSS")
    stage.put(GPU0, "xxxxxxxxxx")
    stage.put(GPU1, "yyyy")
    stage.store(GPU1, "yyyy")
    assert plan(stage, "SSSSu") == []
    stage.scheduler.leave(GPU0)
    stage.join(InstanceId("gpu3"))
    assert names(plan(stage, "SSSSu")) == ["SSSSu"]


def test_jobs_restored_by_a_new_leader_use_up_credit() -> None:
    stage = Stage("preble")
    stage.put(GPU0, "xxxxxxxx")
    assert plan(stage, "aaaa", "bbbb", "cccc") == [("aaaa", GPU1), ("bbbb", GPU1)]

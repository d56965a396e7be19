"""What the scheduler makes of instances' block events: gaps, snapshots, runs, lost parents."""

import pytest
from scheduler_support import GPU0, GPU1, Stage, removed, stored, waiting

from preble.decision import MAX_CANDIDATES
from preble.messages import (
    AllBlocksCleared,
    BlockEvent,
    BlocksStored,
    EventBatch,
    InstanceId,
    JobId,
    Snapshot,
)
from preble.prefix_tree import render


def batch(instance: InstanceId, seq: int, *told: BlockEvent, epoch: str = "e1") -> EventBatch:
    return EventBatch(instance, epoch, seq, told)


def snapshot(seq: int, *runs: BlocksStored, epoch: str = "e1") -> Snapshot:
    return Snapshot(GPU0, epoch, seq, runs)


def held(stage: Stage) -> str:
    return render(stage.scheduler.draw())


@pytest.mark.parametrize("event", [stored("TT"), removed("SS"), AllBlocksCleared()])
def test_after_a_gap_nothing_is_folded_until_it_is_closed(event: BlockEvent) -> None:
    """Neither blocks nor the number of the last batch: the missing one can still come."""
    stage = Stage()
    stage.store(GPU0, "SSSS")
    before = held(stage)
    for _ in range(2):
        assert not stage.scheduler.fold(batch(GPU0, 3, event))
    assert held(stage) == before
    assert stage.scheduler.is_behind(batch(GPU0, 3, event))
    assert stage.scheduler.fold(batch(GPU0, 2))
    assert not stage.scheduler.is_behind(batch(GPU0, 3, event))
    assert stage.scheduler.fold(batch(GPU0, 3, event))
    assert held(stage) != before


@pytest.mark.parametrize(
    "told",
    [
        batch(GPU0, 1, AllBlocksCleared()),  # folded before
        batch(GPU0, 2, AllBlocksCleared(), epoch="e0"),  # of another life
        batch(InstanceId("gpu9"), 1, AllBlocksCleared()),  # of nobody known
    ],
)
def test_what_does_not_concern_it_changes_nothing(told: EventBatch) -> None:
    stage = Stage()
    stage.store(GPU0, "SSSS")
    before = held(stage)
    assert stage.scheduler.fold(told)
    assert not stage.scheduler.is_behind(told)
    assert held(stage) == before


def test_one_batch_is_folded_in_order() -> None:
    stage = Stage()
    stage.tell(GPU0, stored("SSSS"), AllBlocksCleared(), stored("TTTT"), removed("TTTT", after="T"))
    assert held(stage) == "1 blocks  gpu0"


def test_a_snapshot_has_runs_each_after_the_one_it_follows() -> None:
    stage = Stage()
    runs = (stored("SSSS"), stored("SSSSuu", after="SSSS"), stored("SSSSvv", after="SSSS"))
    stage.scheduler.load_snapshot(snapshot(5, *runs))
    assert stage.scheduler.cached_blocks == 8
    for prompt in ("SSSSuu", "SSSSvv"):
        assert stage.assign(prompt, name="probe").resident_hit_tokens == 59


def test_a_snapshot_replaces_what_its_instance_held_and_nothing_else() -> None:
    stage = Stage()
    for instance in (GPU0, GPU1):
        stage.store(instance, "SSSSTT")
    stage.scheduler.load_snapshot(snapshot(7, stored("SSuu")))
    assert stage.assign("SSSSTT", name="probe").weighed.hit_tokens == [20, 59]
    assert stage.assign("SSuu", name="probe").weighed.hit_tokens == [39, 20]


@pytest.mark.parametrize("told", [snapshot(1), snapshot(0), snapshot(2, epoch="e0")])
def test_a_snapshot_that_is_not_newer_changes_nothing(told: Snapshot) -> None:
    stage = Stage()
    stage.store(GPU0, "SSSS")
    stage.scheduler.load_snapshot(told)
    assert stage.scheduler.cached_blocks == 4


def test_a_snapshot_says_which_prompts_were_computed() -> None:
    stage = Stage(instances=1)
    stage.put(GPU0, "SSSS")
    stage.scheduler.load_snapshot(snapshot(3, stored("SSSS")))
    stage.scheduler.fold(batch(GPU0, 4, AllBlocksCleared()))
    assert stage.assign("SSSSu").available_hit_tokens == 0


def test_a_run_that_follows_a_lost_block_is_left_out_and_the_rest_goes_on() -> None:
    stage = Stage()
    stage.store(GPU0, "SSSS")
    lost = batch(GPU0, 9, stored("SSSSuu", after="SSSS"), stored("TT"))
    stage.scheduler.restart_blocks(lost)
    assert stage.scheduler.cached_blocks == 2
    assert stage.assign("SSSSuu", name="probe").available_hit_tokens == 0
    assert stage.assign("TT", name="probe").resident_hit_tokens == 19
    assert stage.scheduler.fold(batch(GPU0, 10, stored("SSSS")))
    assert stage.assign("SSSSuu", name="probe").resident_hit_tokens == 40


def test_a_run_may_follow_blocks_that_only_others_hold() -> None:
    """Whoever stores a block holds all before it."""
    stage = Stage()
    stage.store(GPU1, "SSSS")
    stage.store(GPU0, "SSSSuu", after="SSSS")
    assert stage.assign("SSSS").weighed.hit_tokens == [39, 39]


def test_a_move_that_failed_is_taken_back() -> None:
    stage = Stage()
    stage.scheduler.forget(stage.assign("SSSS").job_id)
    stage.scheduler.forget(JobId("never seen"))
    assignment = stage.assign("SSSS")
    assert assignment.available_hit_tokens == 0
    assert assignment.weighed.outstanding == [0, 0]


def test_a_record_names_the_cheapest_of_many_instances_and_the_chosen_one() -> None:
    """30 instances, the first the most loaded; the holder exploits, though it costs most."""
    stage = Stage(instances=30)
    for number in range(30):
        stage.load(InstanceId(f"gpu{number}"), 100 * (40 - number))
    stage.store(GPU0, "SSSS")
    explored = stage.assign("uuuu")
    assert len(explored.candidates) == MAX_CANDIDATES
    assert {each.instance_id for each in explored.candidates} == {
        f"gpu{number}" for number in range(30 - MAX_CANDIDATES, 30)
    }
    exploited = stage.assign("SSSSu")
    assert len(exploited.candidates) == MAX_CANDIDATES
    assert GPU0 in exploited.weighed.instance_ids


def test_records_of_instances_are_ordered_by_id() -> None:
    stage = Stage(instances=0)
    for instance in (GPU1, GPU0):
        stage.join(instance)
    assert [each.instance_id for each in stage.scheduler.instances] == [GPU0, GPU1]
    assert stage.scheduler.assign(waiting("a", "S"), now_s=0)

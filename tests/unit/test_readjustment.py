"""Edges of rebalancing and replication; the arithmetic of both is in `tests/golden`."""

from array import array

import pytest
from scheduler_support import GPU0, GPU1, GPU2, WINDOW_S, Stage, decided

from preble.messages import Assignment, InstanceId
from preble.policy.readjustment import key_portion
from preble.prefix_tree import Node, PrefixTree

PREFIX = "SSSSSSSS"


def leaf_of(*lengths: int) -> Node:
    """The last of nodes with so many blocks each, one after another."""
    node = PrefixTree().root
    for blocks in lengths:
        start = node.start + len(node.keys)
        node = Node(node, start, array("Q", range(start, start + blocks)))
    return node


def run(
    stage: Stage, now_s: float, wait_ms: int, suffixes: str, *, prefix: str = PREFIX
) -> list[Assignment]:
    """Jobs of a prefix come, wait and end."""
    assignments = [stage.assign(prefix + suffix, now_s=now_s) for suffix in suffixes]
    for each in assignments:
        end_s = now_s + each.prefill_s + wait_ms / 1_000
        stage.end(each.job_id, each.instance_id, output_tokens=1, now_s=end_s)
    return assignments


def waiting_stage(instances: int = 2) -> Stage:
    """Where the requests of one prefix wait three times as long as in the older half."""
    stage = Stage(instances=instances)
    stage.store(GPU0, PREFIX)
    run(stage, 0, 100, "abcde")
    run(stage, 50, 300, "fghij")
    return stage


@pytest.mark.parametrize(
    ("lengths", "start"),
    [
        ((8,), 0),  # the only one
        ((8, 2), 0),  # a question behind a document
        ((8, 9), 8),  # a document behind a system prompt
        ((8, 8), 0),  # as long is not longer
        ((2, 3, 6, 4), 5),
    ],
)
def test_the_key_portion_is_the_deepest_node_longer_than_all_before_it(
    lengths: tuple[int, ...], start: int
) -> None:
    found = key_portion(leaf_of(*lengths))
    assert found is not None
    assert found.start == start


def test_a_prompt_without_a_block_has_no_key_portion() -> None:
    assert key_portion(PrefixTree().root) is None


def test_a_lone_instance_rebalances_and_replicates_nothing() -> None:
    stage = waiting_stage(instances=1)
    for _ in range(60):
        stage.load(GPU0, 100)
    assert decided(stage.assign(PREFIX + "z", now_s=100)) == (GPU0, "exploit")


def test_a_prefix_that_all_hold_is_not_replicated() -> None:
    stage = waiting_stage()
    stage.store(GPU1, PREFIX)
    stage.load(GPU1, 1_000)
    assert decided(stage.assign(PREFIX + "z", now_s=100)) == (GPU0, "exploit")


def test_the_copy_goes_to_the_lightest_without_it() -> None:
    stage = waiting_stage(instances=3)
    stage.load(GPU1, 500)
    assert decided(stage.assign(PREFIX + "z", now_s=100)) == (GPU2, "replicated")


def test_a_replica_that_left_takes_nothing() -> None:
    """The subtree of c moved to gpu1, which is gone."""
    stage = waiting_stage()
    for suffix in ("bbb1", "bbb2", "bbb3", "ccc1", "ccc2"):
        stage.put(GPU0, PREFIX + suffix, now_s=60)
        stage.store(GPU0, PREFIX + suffix)
    assert decided(stage.assign(PREFIX + "z", now_s=100)) == (GPU1, "replicated")
    assert decided(stage.assign(PREFIX + "ccc3", now_s=100)) == (GPU1, "replicated")
    stage.scheduler.leave(GPU1)
    assert decided(stage.assign(PREFIX + "ccc4", now_s=100)) == (GPU0, "exploit")


def test_a_subtree_that_moved_stays_for_a_window() -> None:
    stage = waiting_stage()
    for suffix in ("bbb1", "bbb2", "bbb3", "ccc1", "ccc2"):
        stage.put(GPU0, PREFIX + suffix, now_s=60)
        stage.store(GPU0, PREFIX + suffix)
    stage.assign(PREFIX + "z", now_s=100)
    stage.clear(GPU1)
    moved = stage.assign(PREFIX + "ccc3", now_s=99 + WINDOW_S)
    assert decided(moved) == (GPU1, "replicated")
    stage.scheduler.forget(moved.job_id)
    stage.load(GPU1, 1_000, now_s=99 + WINDOW_S)
    stayed = stage.assign(PREFIX + "ccc4", now_s=100 + WINDOW_S)
    assert decided(stayed) == (GPU0, "exploit")


@pytest.mark.parametrize(
    ("now_s", "expected"), [(179, (GPU1, "replicated")), (181, (GPU0, "exploit"))]
)
def test_waits_older_than_the_window_are_not_compared(
    now_s: float, expected: tuple[InstanceId, str]
) -> None:
    """The older ones ended at about 0 s, those that waited longer at 150 s."""
    stage = Stage()
    stage.store(GPU0, PREFIX)
    run(stage, 0, 100, "abcde")
    run(stage, 150, 300, "fghij")
    assert decided(stage.assign(PREFIX + "z", now_s=now_s)) == expected


def test_another_prefixs_waits_do_not_count() -> None:
    stage = waiting_stage()
    stage.store(GPU0, "TTTTTTTT")
    assert decided(stage.assign("TTTTTTTTz", now_s=100)) == (GPU0, "exploit")


def test_a_failed_job_teaches_no_wait() -> None:
    stage = Stage()
    stage.store(GPU0, PREFIX)
    run(stage, 0, 100, "abcde")
    for suffix in "fghij":
        job = stage.assign(PREFIX + suffix, now_s=50)
        stage.end(job.job_id, GPU0, now_s=60)
    assert decided(stage.assign(PREFIX + "z", now_s=100)) == (GPU0, "exploit")


def test_a_long_decode_is_no_wait() -> None:
    """10 s from placement to end, all of it spent decoding."""
    stage = Stage()
    stage.store(GPU0, PREFIX)
    run(stage, 0, 100, "abcde")
    for suffix in "fghij":
        job = stage.assign(PREFIX + suffix, now_s=50)
        end_s = 60 + job.prefill_s
        stage.end(job.job_id, GPU0, output_tokens=2, decode_s=10, now_s=end_s)
    assert decided(stage.assign(PREFIX + "z", now_s=100)) == (GPU0, "exploit")


@pytest.mark.parametrize(
    "others",
    [
        False,
        True,
    ],
)
def test_older_waits_are_remembered_through_a_pause(others: bool) -> None:  # noqa: FBT001
    """Half a window without an end of the prefix's jobs, whatever other prefixes do then."""
    stage = Stage()
    stage.store(GPU0, PREFIX)
    run(stage, 0, 100, "abcde")
    stage.assign(PREFIX + "f", now_s=100)
    if others:
        run(stage, 100, 0, "u", prefix="TTTTTTTT")
    run(stage, 120, 300, "ghijk")
    assert decided(stage.assign(PREFIX + "z", now_s=125)) == (GPU1, "replicated")


def test_the_copy_never_goes_where_the_shared_part_is_held() -> None:
    """The requests that wait share 12 blocks; the next shares 8 of them, and gpu0 has least L."""
    stage = Stage()
    stage.store(GPU0, PREFIX + "uuuu")
    for now_s, wait_s in ((0.0, 0.1), (50.0, 0.5)):
        for _ in range(5):
            made = stage.assign(PREFIX + "uuuu", now_s=now_s)
            end_s = now_s + made.prefill_s + wait_s
            stage.end(made.job_id, made.instance_id, output_tokens=1, now_s=end_s)
    stage.load(GPU1, 1_000, now_s=60)
    assert decided(stage.assign(PREFIX + "zzz", now_s=100)) != (GPU0, "replicated")

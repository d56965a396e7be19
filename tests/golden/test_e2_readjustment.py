"""When `e2` sends exploits elsewhere, worked by hand from section 3.2 of the paper.

A block is 10 tokens and a letter, a token costs 1 ms. Until a job has ended, each request of
the window counts with 45 output tokens: 45 ms. `load(gpu, n)` adds n ms to its L.
"""

import pytest
from scheduler_support import GPU0, GPU1, GPU2, Stage, costs_ms, decided

from preble.messages import InstanceId

# Rebalancing.


def stage_with_loads(gpu0_requests: int, gpu1_requests: int) -> Stage:
    """Each request adds 100 to L. gpu0 holds S and T."""
    stage = Stage()
    stage.store(GPU0, "SSSSSSSS")
    stage.store(GPU0, "TTTTTTTT")
    for _ in range(gpu0_requests):
        stage.load(GPU0, 100)
    for _ in range(gpu1_requests):
        stage.load(GPU1, 100)
    return stage


@pytest.mark.parametrize(
    ("gpu0_requests", "gpu1_requests", "expected"),
    [
        (61, 40, (GPU1, "rebalanced")),  # 6,100 > 1.5 * 4,000
        (151, 100, (GPU1, "rebalanced")),  # 15,100 > 1.5 * 10,000
        (60, 41, (GPU0, "exploit")),  # 6,000 < 1.5 * 4,100
        (60, 39, (GPU0, "exploit")),  # 6,000 > 1.5 * 3,900, but of fewer than 2 * 50 requests
    ],
)
def test_exploits_of_an_instance_with_too_much_load_go_to_the_lightest(
    gpu0_requests: int, gpu1_requests: int, expected: tuple[InstanceId, str]
) -> None:
    stage = stage_with_loads(gpu0_requests, gpu1_requests)
    assert decided(stage.assign("SSSSSSSSuu")) == expected


def test_rebalancing_stops_when_the_difference_is_below_the_threshold() -> None:
    """The first takes 100 + 45 to gpu1: 6,100 < 1.5 * 4,145 = 6,217.5. The second stays."""
    stage = stage_with_loads(61, 40)
    assert decided(stage.assign("SSSSSSSSuu")) == (GPU1, "rebalanced")
    assignment = stage.assign("TTTTTTTTuu")
    assert costs_ms(assignment) == {"gpu0": (6_100, 0, 20), "gpu1": (4_145, 0, 100)}
    assert decided(assignment) == (GPU0, "exploit")


def test_only_the_heaviest_instances_exploits_move() -> None:
    """gpu1's L of 7,000 exceeds 1.5 times gpu2's 4,000, but gpu0's 8,000 is the most."""
    stage = Stage(instances=3)
    for instance, requests in ((GPU0, 80), (GPU1, 70), (GPU2, 40)):
        for _ in range(requests):
            stage.load(instance, 100)
    stage.store(GPU1, "SSSSSSSS")
    assert decided(stage.assign("SSSSSSSSuu")) == (GPU1, "exploit")


# Replication.


def stage_with_waits(older_ms: int, newer_ms: int, *, each: int = 5) -> Stage:
    """gpu0 holds S, 80 ms to compute; its requests miss 10 tokens and wait, at 0 s and at 50 s.

    At 100 s the halves of the window meet at 10 s.
    """
    stage = Stage()
    stage.store(GPU0, "SSSSSSSS")
    suffixes = iter("abcdefghijklmn")
    for now_s, wait_ms in ((0.0, older_ms), (50.0, newer_ms)):
        for _ in range(each):
            assignment = stage.assign(f"SSSSSSSS{next(suffixes)}", now_s=now_s)
            assert decided(assignment) == (GPU0, "exploit")
            end_s = now_s + (10 + wait_ms) / 1_000
            stage.end(assignment.job_id, GPU0, output_tokens=1, now_s=end_s)
    return stage


@pytest.mark.parametrize(
    ("older_ms", "newer_ms", "expected"),
    [
        (100, 201, (GPU1, "replicated")),  # twice as long, and longer than the 80 of S
        (100, 199, (GPU0, "exploit")),  # not twice
        (30, 79, (GPU0, "exploit")),  # less than computing S anew
        (30, 81, (GPU1, "replicated")),
    ],
)
def test_a_prefix_whose_requests_wait_twice_as_long_gets_another_instance(
    older_ms: int, newer_ms: int, expected: tuple[InstanceId, str]
) -> None:
    stage = stage_with_waits(older_ms, newer_ms)
    assert decided(stage.assign("SSSSSSSSz", now_s=100)) == expected


def test_a_few_waits_mean_nothing() -> None:
    stage = stage_with_waits(100, 900, each=4)
    assert decided(stage.assign("SSSSSSSSz", now_s=100)) == (GPU0, "exploit")


def test_one_request_makes_the_copy_which_then_attracts_others_by_its_cost() -> None:
    """Then S is expected on gpu1. Outputs had 1 token: gpu0's L is 10 * (10 + 1), gpu1's 90 + 1,
    and with the next request and one of 8 tokens 11 + 9 more."""  # fmt: skip
    stage = stage_with_waits(100, 300)
    assert decided(stage.assign("SSSSSSSSz", now_s=100)) == (GPU1, "replicated")
    assignment = stage.assign("SSSSSSSSy", now_s=100)
    assert costs_ms(assignment) == {"gpu0": (110, 0, 10), "gpu1": (91, 0, 10)}
    assert decided(assignment) == (GPU1, "exploit")
    stage.load(GPU1, 53, now_s=100)  # 8 tokens and one of output
    assignment = stage.assign("SSSSSSSSx", now_s=100)
    assert costs_ms(assignment) == {"gpu0": (110, 0, 10), "gpu1": (111, 0, 10)}
    assert decided(assignment) == (GPU0, "exploit")


def test_the_subtree_is_split_by_load() -> None:
    """Blocks that requests took behind S: 3 * vvvv = 12, 3 * www = 9, 3 * xx = 6, 2 * yy = 4.

    Heaviest first, each to the half that has less: v stays, w goes, x goes (9 < 12), y stays.
    """
    stage = stage_with_waits(100, 300)
    for suffix in ("vvvv1", "vvvv2", "vvvv3", "www1", "www2", "www3", "xx1", "xx2", "xx3", "yy1"):
        stage.put(GPU0, f"SSSSSSSS{suffix}", now_s=60)
        stage.store(GPU0, f"SSSSSSSS{suffix}")
    stage.put(GPU0, "SSSSSSSSyy", now_s=60)
    assert decided(stage.assign("SSSSSSSSz", now_s=100)) == (GPU1, "replicated")
    for number in "45":
        for stays in ("vvvv", "yy"):
            again = stage.assign(f"SSSSSSSS{stays}{number}", now_s=100)
            assert decided(again) == (GPU0, "exploit")
        for moved in ("www", "xx"):
            again = stage.assign(f"SSSSSSSS{moved}{number}", now_s=100)
            assert decided(again) == (GPU1, "replicated")

"""Decisions of `e2` worked by hand from the paper's pseudocode (Algorithms 1 and 2).

A block is 10 tokens and a letter, a token costs 1 ms. Until a job has ended, each request of
the window counts with 45 output tokens: 45 ms. `load(gpu, n)` adds n ms to its L.
"""

import pytest
from scheduler_support import GPU0, GPU1, GPU2, Stage, costs_ms, decided

from preble.messages import InstanceId

# Exploit or explore.


def test_most_of_the_prompt_is_held_by_one_instance() -> None:
    """Held 60 of 100, missed 40 < 60: exploit, though 245 + 0 + 40 > 0 + 0 + 100."""
    stage = Stage()
    stage.store(GPU1, "SSSSSS")
    stage.load(GPU1, 245)
    assignment = stage.assign("SSSSSSuuuu")
    assert costs_ms(assignment) == {"gpu0": (0, 0, 100), "gpu1": (245, 0, 40)}
    assert decided(assignment) == (GPU1, "exploit")


def test_of_several_holders_the_one_of_least_cost() -> None:
    """gpu1: 245 + 40 = 285. gpu2: 145 + 40 = 185. gpu0 would cost 100 and does not hold it."""
    stage = Stage(instances=3)
    for instance, load_ms in ((GPU1, 245), (GPU2, 145)):
        stage.store(instance, "SSSSSS")
        stage.load(instance, load_ms)
    assignment = stage.assign("SSSSSSuuuu")
    assert [sum(cost) for cost in costs_ms(assignment).values()] == [100, 285, 185]
    assert decided(assignment) == (GPU2, "exploit")


def test_who_holds_less_than_the_longest_part_is_no_holder() -> None:
    """gpu1 holds 70, gpu0 60: only gpu1 exploits, for 345 + 30, not gpu0 for 0 + 40."""
    stage = Stage()
    stage.store(GPU0, "SSSSSS")
    stage.store(GPU1, "SSSSSSS")
    stage.load(GPU1, 345)
    assignment = stage.assign("SSSSSSSuuu")
    assert costs_ms(assignment) == {"gpu0": (0, 0, 40), "gpu1": (345, 0, 30)}
    assert decided(assignment) == (GPU1, "exploit")


def test_exactly_half_is_explored() -> None:
    """Held 50 of 100: missed 50 is not < 50. Explore: min(0 + 100, 245 + 50) is gpu0's."""
    stage = Stage()
    stage.store(GPU1, "SSSSS")
    stage.load(GPU1, 245)
    assignment = stage.assign("SSSSSuuuuu")
    assert costs_ms(assignment) == {"gpu0": (0, 0, 100), "gpu1": (245, 0, 50)}
    assert decided(assignment) == (GPU0, "explore")


def test_one_token_more_than_half_is_exploited() -> None:
    """Held 50 of 99: missed 49 < 50."""
    stage = Stage()
    stage.store(GPU1, "SSSSS")
    stage.load(GPU1, 245)
    assert decided(stage.assign("SSSSSuuuu", extra_tokens=9)) == (GPU1, "exploit")


def test_an_exact_repeat_is_exploited() -> None:
    """Held 99 of 100, for the last token is always computed: 145 + 1 on gpu0, 100 on gpu1."""
    stage = Stage()
    assert decided(stage.assign("SSSSSSSSSS")) == (GPU0, "explore")
    stage.store(GPU0, "SSSSSSSSSS")
    assignment = stage.assign("SSSSSSSSSS")
    assert costs_ms(assignment) == {"gpu0": (145, 0, 1), "gpu1": (0, 0, 100)}
    assert decided(assignment) == (GPU0, "exploit")


def test_exploring_takes_the_least_sum() -> None:
    """245 + 100, 145 + 100, 155 + 70: the last, though neither its L nor its hit decides."""
    stage = Stage(instances=3)
    for instance, load_ms in ((GPU0, 245), (GPU1, 145), (GPU2, 155)):
        stage.load(instance, load_ms)
    stage.store(GPU2, "SSS")
    assignment = stage.assign("SSSuuuuuuu")
    assert [sum(cost) for cost in costs_ms(assignment).values()] == [345, 245, 225]
    assert decided(assignment) == (GPU2, "explore")


def test_of_equal_costs_the_one_with_fewer_jobs_then_the_lower_id() -> None:
    """L = 100 + 45 on each. All have a job: gpu0. That of gpu2 ended after 45 tokens: gpu2."""
    stage = Stage(instances=3)
    for instance in (GPU0, GPU1, GPU2):
        stage.load(instance, 145)
    assert decided(stage.assign("u")) == (GPU0, "explore")
    stage = Stage(instances=3)
    jobs = [stage.load(instance, 145) for instance in (GPU0, GPU1, GPU2)]
    stage.end(jobs[2], GPU2, output_tokens=45)
    assignment = stage.assign("u")
    assert {sum(cost) for cost in costs_ms(assignment).values()} == {155}
    assert decided(assignment) == (GPU2, "explore")


# L: the window.


def test_the_decode_of_every_request_of_the_window_counts_with_the_average_output() -> None:
    """Outputs of 10 and 30 tokens: 20 on average. L = (100 + 20) + (50 + 20) = 190, ended or not.

    gpu1 has ended nothing: it is judged by what gpu0 saw.
    """
    stage = Stage()
    jobs = [stage.put(GPU0, "a" * 10), stage.put(GPU0, "b" * 5)]
    stage.put(GPU1, "c" * 10)
    stage.put(GPU1, "d" * 5)
    for job, output_tokens in zip(jobs, (10, 30), strict=True):
        stage.end(job, GPU0, output_tokens=output_tokens)
    assert costs_ms(stage.assign("u")) == {"gpu0": (190, 0, 10), "gpu1": (190, 0, 10)}


def test_ten_outputs_make_an_instances_own_average() -> None:
    """gpu0: 10 * (10 + 20). gpu1 ended one, of 130: with all it is (10 * 20 + 130) / 11 = 30."""
    stage = Stage()
    for _ in range(10):
        stage.end(stage.put(GPU0, "a"), GPU0, output_tokens=20)
    stage.end(stage.put(GPU1, "a" * 10), GPU1, output_tokens=130)
    assert costs_ms(stage.assign("u")) == {"gpu0": (300, 0, 10), "gpu1": (130, 0, 10)}


@pytest.mark.parametrize(("now_s", "load_ms"), [(179, 190), (180, 70), (181, 95), (190, 0)])
def test_placements_and_outputs_count_for_three_minutes(now_s: float, load_ms: float) -> None:
    """100 tokens placed at 0 s, 20 of output observed at 1 s, 50 placed at 10 s.

    L is (100 + 20) + (50 + 20); without the first 50 + 20; without the output 50 + 45; 0.
    """
    stage = Stage(instances=1)
    job = stage.put(GPU0, "a" * 10, now_s=0)
    stage.end(job, GPU0, output_tokens=20, now_s=1)
    stage.put(GPU0, "b" * 5, now_s=10)
    assert costs_ms(stage.assign("u", now_s=now_s)) == {"gpu0": (load_ms, 0, 10)}


# M: making room.


def full_stage(*, capacity_blocks: int = 20, gpu1_load_ms: int = 425) -> Stage:
    """Four requests went to gpu0, whose 20 blocks they fill; two of them share AAAA.

    Least recently used first, leaves first: bbbb, cccc, AAAA, xxxx, yyyy.
    gpu0's L is (80 + 45) + (80 + 45) + (40 + 45) + (40 + 45) = 420.
    """
    stage = Stage(capacity_blocks=capacity_blocks)
    for prompt in ("AAAAbbbb", "AAAAcccc", "xxxx", "yyyy"):
        stage.put(GPU0, prompt)
    for prompt in ("AAAAbbbb", "AAAAcccc", "xxxx", "yyyy"):
        stage.store(GPU0, prompt)
    stage.load(GPU1, gpu1_load_ms)
    return stage


@pytest.mark.parametrize(
    ("blocks", "eviction_ms"),
    [
        (4, 10),  # bbbb: 40 of a quarter of the requests
        (8, 20),  # and cccc
        (10, 30),  # and half of AAAA, 20 of half of the requests
        (12, 40),  # and the other half
        (20, 60),  # and xxxx, yyyy: all there is
        (24, 60),
    ],
)
def test_evicting_a_node_loses_its_prefill_times_its_share_of_requests(
    blocks: int, eviction_ms: float
) -> None:
    """M = sum of PrefillTime(len j) * N_j, with N_j = requests through j / requests on gpu0."""
    stage = full_stage()
    assert costs_ms(stage.assign("q" * blocks))["gpu0"] == (420, eviction_ms, 10 * blocks)


def test_eviction_decides() -> None:
    """420 + 30 + 100 = 550 against 425 + 0 + 100 = 525; without M gpu0's 520 would be least."""
    assignment = full_stage().assign("q" * 10)
    assert costs_ms(assignment) == {"gpu0": (420, 30, 100), "gpu1": (425, 0, 100)}
    assert decided(assignment) == (GPU1, "explore")


def test_free_memory_costs_nothing() -> None:
    """30 blocks, 20 taken: 10 fit. The 11th takes a quarter of bbbb, 10 * 1/4."""
    assignment = full_stage(capacity_blocks=30).assign("q" * 10)
    assert costs_ms(assignment)["gpu0"] == (420, 0, 100)
    assert decided(assignment) == (GPU0, "explore")
    assert costs_ms(full_stage(capacity_blocks=30).assign("q" * 11))["gpu0"] == (420, 2.5, 110)


def test_blocks_that_no_request_of_the_window_wanted_fall_first_and_cost_nothing() -> None:
    """10 of the 30 blocks hold what nobody asked for: as good as free."""
    stage = full_stage(capacity_blocks=30)
    stage.store(GPU0, "n" * 10)
    assert costs_ms(stage.assign("q" * 10))["gpu0"] == (420, 0, 100)


def test_what_the_request_hits_needs_no_room() -> None:
    """AAAA is there: of 8 blocks 4 need room, which is bbbb's: 40 * 1/4."""
    assert costs_ms(full_stage().assign("AAAAqqqq"))["gpu0"] == (420, 10, 40)


def test_a_request_that_left_the_window_leaves_its_blocks_to_be_evicted_for_nothing() -> None:
    """AAAAbbbb of 0 s is out at 180 s, the others of 10 s are not: 4 blocks are cold, and of
    the 3 requests one went through each of cccc, AAAA, xxxx, yyyy."""  # fmt: skip
    stage = Stage(capacity_blocks=20)
    for prompt, now_s in (("AAAAbbbb", 0), ("AAAAcccc", 10), ("xxxx", 10), ("yyyy", 10)):
        stage.put(GPU0, prompt, now_s=now_s)
        stage.store(GPU0, prompt)
    cost_s = costs_ms(stage.assign("q" * 8, now_s=180))["gpu0"]
    assert cost_s == (40 + 45 + 2 * (40 + 45), round(40 / 3, 6), 80)


def test_of_two_holders_the_one_that_evicts_less() -> None:
    """Of SSSSSSuuuu both hold 60. gpu0 evicts bbbb, of 5 requests: 466 + 40 / 5 + 40 = 514.

    gpu1: 470 + 0 + 40 = 510; without M gpu0's 506 would be least.
    """
    stage = full_stage(capacity_blocks=26, gpu1_load_ms=470)
    stage.store(GPU0, "SSSSSS")
    stage.put(GPU0, "SSSSSS")  # 1 token missed, 45 of output
    stage.store(GPU1, "SSSSSS")
    assignment = stage.assign("SSSSSSuuuu")
    assert costs_ms(assignment) == {"gpu0": (466, 8, 40), "gpu1": (470, 0, 40)}
    assert decided(assignment) == (GPU1, "exploit")


# Prefill and decode in balance.


def stage_with_units(*, decode_units: int, prefill_units: int) -> Stage:
    """Requests on gpu0: some that hit 80 of 90 tokens, others that hit nothing."""
    stage = Stage()
    stage.store(GPU0, "SSSSSSSS")
    for _ in range(decode_units):
        stage.put(GPU0, "SSSSSSSSu")
    for _ in range(prefill_units):
        stage.put(GPU0, "v")
    return stage


@pytest.mark.parametrize(
    ("decode_units", "prefill_units", "expected"),
    [
        (8, 2, (GPU0, "decode_heavy")),  # 8 / 10 > 0.7
        (12, 5, (GPU0, "decode_heavy")),  # 12 / 17 = 0.706 > 0.7
        (7, 3, (GPU1, "explore")),  # 7 / 10 is not
        (9, 0, (GPU1, "explore")),  # 9 / 9, but of fewer than 10 requests
    ],
)
def test_an_explored_request_goes_first_to_the_instance_that_decodes_most(
    decode_units: int, prefill_units: int, expected: tuple[InstanceId, str]
) -> None:
    """Whatever it costs there: gpu1 has no load at all."""
    stage = stage_with_units(decode_units=decode_units, prefill_units=prefill_units)
    assignment = stage.assign("wwww")
    assert sum(costs_ms(assignment)["gpu1"]) < sum(costs_ms(assignment)["gpu0"])
    assert decided(assignment) == expected


def test_of_equal_decode_ratios_the_instance_with_fewer_jobs() -> None:
    """10 of 10 on both; those of gpu1 have ended."""
    stage = stage_with_units(decode_units=10, prefill_units=0)
    stage.store(GPU1, "SSSSSSSS")
    for _ in range(10):
        stage.end(stage.put(GPU1, "SSSSSSSSu"), GPU1)
    assert decided(stage.assign("wwww")) == (GPU1, "decode_heavy")


def test_an_exploit_heeds_no_decode_ratio() -> None:
    stage = stage_with_units(decode_units=10, prefill_units=0)
    stage.store(GPU1, "TTTTTTTT")
    assert decided(stage.assign("TTTTTTTTw")) == (GPU1, "exploit")

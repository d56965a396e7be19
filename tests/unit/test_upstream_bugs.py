"""What the paper's released scheduler got wrong: a test for each fault, named by what is right."""

import pytest
from scheduler_support import (
    GPU0,
    GPU1,
    GPU2,
    GPU3,
    WINDOW_S,
    Stage,
    costs_ms,
    decided,
)

from preble.cost_model import load_cost_model
from preble.errors import ConfigError


def test_a_subset_of_holders_never_sends_a_request_elsewhere() -> None:
    """A place among the holders is no instance's number: gpu2 and gpu3 hold it, not 0 and 1."""
    stage = Stage(instances=4)
    for instance, load_ms in ((GPU2, 345), (GPU3, 245)):
        stage.store(instance, "SSSSSS")
        stage.load(instance, load_ms)
    assert decided(stage.assign("SSSSSSuuuu")) == (GPU3, "exploit")


def test_an_exact_repeat_is_no_miss() -> None:
    stage = Stage()
    stage.store(GPU1, "SSSSSS")
    stage.load(GPU1, 1_000)
    assignment = stage.assign("SSSSSS")
    assert decided(assignment) == (GPU1, "exploit")
    assert assignment.predicted_hit_tokens == 59


def test_an_evicted_prefix_attracts_nobody() -> None:
    """Nor does one of which only the first half is left."""
    stage = Stage()
    stage.store(GPU1, "SSSSSS")
    stage.load(GPU1, 1_000)
    assert stage.assign("SSSSSS", name="probe").instance_id == GPU1
    stage.scheduler.forget(stage.assign("SSSSSS", name="probe").job_id)
    stage.evict(GPU1, "SSSSSS", after="SSS")
    assignment = stage.assign("SSSSSS", name="probe")
    assert decided(assignment) == (GPU0, "explore")
    assert assignment.available_hit_tokens == 30


def test_a_prefix_that_was_only_routed_somewhere_is_not_held_there() -> None:
    """A job that failed has computed nothing, wherever it was sent."""
    stage = Stage()
    first = stage.assign("SSSSSS")
    stage.end(first.job_id, first.instance_id)
    assert stage.assign("SSSSSS").available_hit_tokens == 0


def test_what_a_request_misses_is_part_of_its_cost() -> None:
    """P: of two instances with equal load the one that holds a little."""
    stage = Stage()
    stage.store(GPU1, "S")
    assert decided(stage.assign("Suuuu")) == (GPU1, "explore")


def test_evicting_what_many_share_costs_more_than_what_few_share() -> None:
    """N_j is the share of requests that want a node, not that of those that missed it."""
    stage = Stage(capacity_blocks=8)
    for instance, prompts in ((GPU0, ("aaaa", "aaaa", "bbbb")), (GPU1, ("cccc", "dddd", "dddd"))):
        for prompt in prompts:
            stage.put(instance, prompt)
            stage.store(instance, prompt)
    costs = costs_ms(stage.assign("qqqq"))
    assert costs["gpu0"][1] == round(40 * 2 / 3, 6)  # aaaa falls first, and two wanted it
    assert costs["gpu1"][1] == round(40 * 1 / 3, 6)  # cccc falls first


def test_the_decode_of_a_request_that_ended_still_counts() -> None:
    stage = Stage()
    stage.end(stage.put(GPU0, "aaaa"), GPU0, output_tokens=100)
    assert costs_ms(stage.assign("u"))["gpu0"][0] == 40 + 100


def test_prefill_and_decode_are_balanced_without_being_told_to() -> None:
    stage = Stage()
    stage.store(GPU1, "SSSSSS")
    for _ in range(10):
        stage.put(GPU1, "SSSSSS")
    assert decided(stage.assign("uuuu")) == (GPU1, "decode_heavy")


def test_a_request_older_than_the_window_can_end() -> None:
    stage = Stage()
    job = stage.put(GPU0, "aaaa", now_s=0)
    stage.assign("u", now_s=10 * WINDOW_S)
    stage.end(job, GPU0, output_tokens=20, now_s=10 * WINDOW_S)
    assert stage.assign("v", now_s=10 * WINDOW_S).weighed.outstanding[0] < 2


def test_a_failed_request_teaches_no_output_length() -> None:
    """L stays at 40 + 45, with the length that stands in until one is known."""
    stage = Stage()
    stage.end(stage.put(GPU0, "aaaa"), GPU0, output_tokens=0)
    assert costs_ms(stage.assign("u"))["gpu0"][0] == 40 + 45


def test_one_failure_does_not_end_the_bookkeeping_of_others() -> None:
    """Unknown, failed twice, or of an instance that is gone: all harmless."""
    stage = Stage()
    job, other = stage.put(GPU0, "aaaa"), stage.put(GPU1, "bbbb")
    for _ in range(2):
        stage.end(job, GPU0)
    stage.scheduler.leave(GPU0)
    stage.end(job, GPU0, output_tokens=5)
    stage.end(other, GPU1, output_tokens=5)
    assert stage.assign("u").weighed.outstanding == [0]


def test_an_evicted_leaf_leaves_what_is_before_it() -> None:
    """A whole match is matched to its last block, and its parent outlives it."""
    stage = Stage()
    stage.store(GPU0, "SSSS")
    stage.store(GPU0, "SSSSuu", after="SSSS")
    stage.store(GPU0, "SSSSvv", after="SSSS")
    assert stage.assign("SSSSuu", name="probe").resident_hit_tokens == 59
    stage.evict(GPU0, "SSSSuu", after="SSSS")
    assert stage.assign("SSSSuu", name="probe").resident_hit_tokens == 40
    assert stage.assign("SSSSvv", name="probe").resident_hit_tokens == 59


def test_the_tree_shrinks() -> None:
    """Evicted, ended and out of the window: nothing is left of a prompt."""
    stage = Stage()
    for number in range(20):
        assignment = stage.assign(chr(ord("a") + number) * 5, now_s=0)
        stage.store(assignment.instance_id, chr(ord("a") + number) * 5)
        stage.end(assignment.job_id, assignment.instance_id, output_tokens=5, now_s=1)
    assert len(stage.scheduler.draw().nodes) == 20
    for instance in (GPU0, GPU1):
        stage.clear(instance)
    assert len(stage.scheduler.draw().nodes) == 20  # requests of the window went through them
    stage.scheduler.forget(stage.assign("", extra_tokens=5, now_s=WINDOW_S).job_id)
    assert stage.scheduler.draw().nodes == ()


@pytest.mark.parametrize("model", ["mistral_7b_a6000", "llama3_70b_h100_tp2"])
def test_each_instance_has_its_own_cost_model(model: str) -> None:
    stage = Stage(instances=1)
    stage.join(GPU1, cost_model=model)
    costs = costs_ms(stage.assign("u" * 50))
    assert costs["gpu0"][2] == 500
    assert costs["gpu1"][2] == round(load_cost_model(model).prefill_s(500, 500) * 1_000, 6)


def test_an_unknown_cost_model_is_refused_not_replaced() -> None:
    with pytest.raises(ConfigError, match="abacus"):
        Stage().join(GPU2, cost_model="abacus")


def test_each_instance_has_its_own_memory() -> None:
    """The same blocks, held and wanted, fill the smaller instance only."""
    stage = Stage(instances=0)
    for instance, capacity_blocks in ((GPU0, 4), (GPU1, 8)):
        stage.join(instance, capacity_blocks=capacity_blocks)
        stage.put(instance, "aaaa")
        stage.store(instance, "aaaa")
    costs = costs_ms(stage.assign("qqqq"))
    assert (costs["gpu0"][1], costs["gpu1"][1]) == (40, 0)


def test_moved_load_counts_where_it_went() -> None:
    """Rebalanced requests do not pile up on the lightest until something notices."""
    stage = Stage(instances=3)
    for instance, requests in ((GPU0, 90), (GPU1, 40), (GPU2, 40)):
        for _ in range(requests):
            stage.load(instance, 100)
    prefixes = "abcdefgh"
    for prefix in prefixes:
        stage.store(GPU0, prefix * 8)
    homes = [stage.assign(prefix * 8 + "u").instance_id for prefix in prefixes]
    assert homes == [GPU1, GPU2] * 4


def test_more_than_one_prefix_can_be_replicated() -> None:
    stage = Stage()
    for prefix in "ST":
        stage.store(GPU0, prefix * 8)
    for now_s, wait_s in ((0.0, 0.1), (50.0, 0.5)):
        for prefix, suffix in zip("ST" * 5, "abcdefghij", strict=True):
            job = stage.put(GPU0, f"{prefix * 8}{now_s:.0f}{suffix}", now_s=now_s)
            stage.end(job, GPU0, output_tokens=1, now_s=now_s + 0.1 + wait_s)
    replicated = (GPU1, "replicated")
    assert decided(stage.assign("S" * 8 + "z", now_s=100)) == replicated
    assert decided(stage.assign("T" * 8 + "z", now_s=100)) == replicated

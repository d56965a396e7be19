"""What a job would meet on an instance beside its cache: free KV memory, and long decode steps.

Blocks are of 10 tokens; a job needs 10 + 45 tokens beside its prompt's full blocks.
"""

import pytest
from scheduler_support import GPU0, GPU1, GPU2, ONE_MS_A_TOKEN, WINDOW_S, keys_of

from preble.cost_model import load_cost_model
from preble.fleet import Fleet
from preble.messages import InstanceId, InstanceRecord, JobId


def fleet_of(*instances: InstanceId, capacity_tokens: int = 200, slots: int = 4) -> Fleet:
    fleet = Fleet(block_size=10, history_s=WINDOW_S)
    for instance in instances:
        record = InstanceRecord(instance, "e1", "noop", slots, capacity_tokens, ONE_MS_A_TOKEN)
        fleet.join(record, load_cost_model(ONE_MS_A_TOKEN))
    return fleet


def place(fleet: Fleet, instance: InstanceId, prompt: str, *, extra_tokens: int = 0) -> JobId:
    """A job that misses all of its prompt."""
    job, keys = JobId(f"job{fleet.relief}-{prompt}"), keys_of(prompt)
    fleet.place(
        job, fleet.instances[instance], keys, fleet.tree.match(keys, fleet.mask),
        prompt_tokens=10 * len(prompt) + extra_tokens, hit_tokens=0, prefill_s=0.0, now_s=0.0,
    )  # fmt: skip
    return job


def needed_tokens(fleet: Fleet, prompt: str) -> list[float]:
    match = fleet.tree.match(keys_of(prompt), fleet.mask)
    needed: list[float] = fleet.needed_kv_tokens(match, 10 * len(prompt)).tolist()
    return needed


def test_free_memory_is_what_no_job_needs() -> None:
    """Its full blocks, a block begun and a mean output; what is cached only is free."""
    fleet = fleet_of(GPU0, GPU1)
    fleet.tree.store(keys_of("S" * 20), fleet.instances[GPU0].account.holder)
    assert fleet.free_kv_tokens.tolist() == [200, 200]
    job = place(fleet, GPU0, "SSSS", extra_tokens=7)
    assert fleet.free_kv_tokens.tolist() == [200 - 40 - 55, 200]
    fleet.forget(job)
    assert fleet.free_kv_tokens.tolist() == [200, 200]


def test_blocks_that_jobs_share_are_needed_once() -> None:
    fleet = fleet_of(GPU0)
    jobs = [place(fleet, GPU0, "SSSSSS"), place(fleet, GPU0, "SSSSuu")]
    assert fleet.free_kv_tokens.tolist() == [200 - 80 - 2 * 55]
    fleet.forget(jobs[0])
    assert fleet.free_kv_tokens.tolist() == [200 - 60 - 55]


def test_memory_is_negative_where_jobs_wait_for_some() -> None:
    fleet = fleet_of(GPU0, capacity_tokens=90)
    place(fleet, GPU0, "SSSS")
    assert fleet.free_kv_tokens.tolist() == [-5]


def test_a_job_needs_what_those_on_the_instance_do_not_share_with_it() -> None:
    """gpu1's job has 2 of its 4 blocks; that gpu0 holds all of them is no use: they may fall."""
    fleet = fleet_of(GPU0, GPU1)
    fleet.tree.store(keys_of("SSSS"), fleet.instances[GPU0].account.holder)
    place(fleet, GPU1, "SSuu")
    assert needed_tokens(fleet, "SSSS") == [40 + 55, 20 + 55]


def test_outputs_in_the_window_say_what_jobs_will_need() -> None:
    fleet = fleet_of(GPU0)
    place(fleet, GPU0, "SSSS")
    account = fleet.instances[GPU0].account
    fleet.history.observe_output(account, 100, stay_s=1.0, now_s=0.0)
    assert fleet.free_kv_tokens.tolist() == [200 - 40 - 110]
    assert needed_tokens(fleet, "u") == [120]


def test_a_shortage_is_what_is_missing_as_a_share_of_what_jobs_there_hold() -> None:
    """gpu0: 105 of 135 are free, 95 in use. gpu1 has all it takes."""
    fleet = fleet_of(GPU0, GPU1)
    place(fleet, GPU0, "xxxx")
    match = fleet.tree.match(keys_of("a" * 8), fleet.mask)
    shortage = fleet.kv_shortage(match, 80)
    assert shortage is not None
    assert shortage.tolist() == pytest.approx([30 / 95, 0])
    assert fleet.kv_shortage(match, 50) is None


def test_a_life_with_another_capacity_has_other_memory_and_the_same_jobs() -> None:
    fleet = fleet_of(GPU0)
    place(fleet, GPU0, "SSSS")
    record = InstanceRecord(GPU0, "e2", "noop", 4, 500, ONE_MS_A_TOKEN)
    fleet.join(record, load_cost_model(ONE_MS_A_TOKEN))
    assert fleet.free_kv_tokens.tolist() == [500 - 40 - 55]


def test_memory_stays_with_its_instance_when_others_come_and_go() -> None:
    fleet = fleet_of(GPU1, GPU2)
    place(fleet, GPU2, "SSSS")
    fleet.leave(fleet.instances[GPU1])
    assert fleet.free_kv_tokens.tolist() == [105]
    fleet.join(
        InstanceRecord(GPU0, "e1", "noop", 4, 300, ONE_MS_A_TOKEN), load_cost_model(ONE_MS_A_TOKEN)
    )
    assert fleet.free_kv_tokens.tolist() == [300, 105]
    assert fleet.decode_step_s(10).tolist() == pytest.approx([0.001, 0.002])


@pytest.mark.parametrize("jobs", [0, 1, 3, 4, 9])
def test_a_decode_step_is_that_of_all_jobs_and_one_more_as_far_as_there_are_slots(
    jobs: int,
) -> None:
    """As the cost model says of those that run, of mean length: 30,000 tokens, and 40,000."""
    model = load_cost_model("mistral_7b_a6000")
    fleet = Fleet(block_size=10, history_s=WINDOW_S)
    fleet.join(InstanceRecord(GPU0, "e1", "noop", 4, 10**6, "mistral_7b_a6000"), model)
    for number in range(jobs):
        place(fleet, GPU0, chr(0x100 + number), extra_tokens=29_990)
    running = min(jobs + 1, 4)
    context_tokens = (30_000 * jobs + 40_000) * running / (jobs + 1)
    step_s = model.totals_s(running, round(context_tokens), running)
    assert fleet.decode_step_s(40_000).tolist() == pytest.approx([step_s], rel=1e-4)


@pytest.mark.parametrize("jobs", [0, 1, 3, 4, 9])
def test_one_more_context_makes_a_step_longer_for_all_jobs_that_run(jobs: int) -> None:
    """As the cost model says of 10,000 tokens more, of which a part is in a step beyond 4 slots."""
    model = load_cost_model("mistral_7b_a6000")
    fleet = Fleet(block_size=10, history_s=WINDOW_S)
    fleet.join(InstanceRecord(GPU0, "e1", "noop", 4, 10**6, "mistral_7b_a6000"), model)
    for number in range(jobs):
        place(fleet, GPU0, chr(0x100 + number), extra_tokens=29_990)
    in_step = min(jobs + 1, 4)
    one_more_s, earlier_s = (
        model.totals_s(in_step, round((30_000 * jobs + tokens) * in_step / (jobs + 1)), in_step)
        for tokens in (40_000, 30_000)
    )
    drag_s = min(jobs, 4) * (one_more_s - earlier_s)
    assert fleet.decode_drag_s(10_000).tolist() == pytest.approx([drag_s], rel=1e-3)


def test_jobs_run_as_far_as_there_are_slots() -> None:
    fleet = fleet_of(GPU0, GPU1, GPU2, slots=2)
    for prompt in "xyz":
        place(fleet, GPU0, prompt)
    job = place(fleet, GPU2, "x")
    assert fleet.running.tolist() == [2, 0, 1]
    fleet.forget(job)
    assert fleet.running.tolist() == [2, 0, 0]

"""`preble`, term by term: what a placement costs, worked by hand.

A token takes 1 ms to prefill, and a step 1 ms for each job that decodes. Outputs are of 45 tokens
where none was observed. So a job of 40 tokens costs an empty instance

    backlog 0  +  output * step 45 * 1 ms  +  P + P * (n + 2) = 40 ms * 3     =  165 ms

The share of time that goes to prefills is left out but where it is tested, and contexts cost a
step nothing but where that is.
"""

from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace
from scheduler_support import GPU0, GPU1, GPU2, ONE_MS_A_TOKEN, Stage, decided

from preble.cost_model.files import format_coefficients, load_coefficients
from preble.messages import Assignment, InstanceId
from preble.policy import Policy
from preble.policy.preble import Weights, least_delay

UNHURRIED: Final[Policy] = least_delay(Weights(most_share=0.0))
"""Without the share of prefills."""


@pytest.fixture
def reading(tmp_path: Path) -> str:
    """A cost model with which a token of context, too, costs a step 0.25 ms."""
    known = load_coefficients(ONE_MS_A_TOKEN)
    attention = replace(known.attention, per_context_token_ms=0.25)
    file = tmp_path / "reading.json"
    file.write_bytes(format_coefficients(replace(known, attention=attention)))
    return str(file)


def costs_ms(assignment: Assignment) -> list[float]:
    """In the order of the instances."""
    return [round(1_000 * each.cost, 3) for each in assignment.candidates if each.cost is not None]


def run(stage: Stage, instance: InstanceId, *prompts: str) -> None:
    """These jobs decode there: their prompts have been computed."""
    for prompt in prompts:
        stage.put(instance, prompt)
        stage.store(instance, prompt)


def stay(stage: Stage, instance: InstanceId, stay_s: float) -> None:
    """A job ended that long after it was placed, with an output as long as the default."""
    job = stage.put(instance, "")
    stage.end(job, instance, output_tokens=45, now_s=stay_s)


def test_an_empty_instance_costs_its_prefill_and_its_decode() -> None:
    assignment = Stage(UNHURRIED, instances=1).assign("aaaa")
    assert costs_ms(assignment) == [165]
    assert decided(assignment) == (GPU0, "least_delay")


def test_it_waits_for_the_prefills_placed_before_it() -> None:
    """A job on each; that of gpu1 has been computed: 45 * 2 + 40 * 4, and 70 of backlog."""
    stage = Stage(UNHURRIED)
    stage.put(GPU0, "xxxxxxx")
    run(stage, GPU1, "yyyyyyy")
    assignment = stage.assign("aaaa")
    assert costs_ms(assignment) == [250 + 70, 250]
    assert decided(assignment) == (GPU1, "least_delay")


def test_it_decodes_and_others_stand_still_with_every_job_there() -> None:
    """With each: 45 * 1 ms of longer steps, and 40 ms that one more stands still."""
    stage = Stage(UNHURRIED, instances=4)
    for number in range(1, 4):
        run(stage, InstanceId(f"gpu{number}"), *"xyz"[:number])
    assert costs_ms(stage.assign("aaaa")) == [165 + number * (45 + 40) for number in range(4)]


def test_jobs_beyond_the_slots_neither_decode_nor_stand_still() -> None:
    """On 2 slots: 45 * 2 + 40 * 5, whether 2, 3 or 4 jobs are there."""
    stage = Stage(UNHURRIED, instances=3, slots=2)
    for number, jobs in enumerate(("uv", "uvw", "uvwx")):
        run(stage, InstanceId(f"gpu{number}"), *jobs)
    assert costs_ms(stage.assign("aaaa")) == [290, 290, 290]


def test_of_a_long_prefill_five_seconds_count_for_others() -> None:
    """8 s, beside no job and two, and for itself 8 s: 45 * (n + 1) + 8,000 + 5,000 * (n + 2)."""
    stage = Stage(UNHURRIED)
    run(stage, GPU1, "x", "y")
    costs = [45 + 8_000 + 5_000 * 2, 45 * 3 + 8_000 + 5_000 * 4]
    assert costs_ms(stage.assign("a" * 800)) == costs


def test_what_is_held_or_expected_is_not_computed() -> None:
    """10 ms of 50 are missed: 45 + 10 * 3, and by the job there 40 + 45 + 10."""
    stage = Stage(UNHURRIED, instances=3)
    stage.store(GPU1, "SSSS")
    stage.put(GPU2, "SSSS")
    assert costs_ms(stage.assign("SSSSu")) == [45 + 150, 45 + 30, 45 + 30 + 40 + 45 + 10]


def test_outputs_are_as_long_as_they_were_in_the_window() -> None:
    """11 tokens: 11 * 1 + 40 * 3."""
    stage = Stage(UNHURRIED, instances=1)
    stage.end(stage.put(GPU0, ""), GPU0, output_tokens=11)
    assert costs_ms(stage.assign("aaaa")) == [131]


def test_its_context_makes_each_step_longer_for_every_job_there(reading: str) -> None:
    """P = 40 * 1.25. On gpu1 a step takes 1 + 0.25 * 40; on gpu0, with two jobs of 30 tokens,
    3 + 0.25 * 100, and both wait 0.25 * 40 longer for it."""
    stage = Stage(UNHURRIED, instances=0)
    for instance in (GPU0, GPU1):
        stage.join(instance, cost_model=reading)
    run(stage, GPU0, "xxx", "yyy")
    drag = 2 * 10
    assert costs_ms(stage.assign("aaaa")) == [45 * (28 + drag) + 50 * 5, 45 * 11 + 50 * 3]


# The share of the instances' time that went to prefills draws out what its own delays.


@pytest.mark.parametrize(
    ("prefilled_ms", "now_s", "longer"),
    [(5_000, 0, 4 / 3), (10_000, 0, 2), (10_000, 20, 4 / 3), (15_000, 0, 2)],
)
def test_other_prefills_draw_its_own_out(prefilled_ms: int, now_s: float, longer: float) -> None:
    """Of two instances' 10 s, or 20 s: others' wait for it times 1 / (1 - s)."""
    stage = Stage("preble")
    stage.end(stage.put(GPU1, "", extra_tokens=prefilled_ms), GPU1)
    cost = round(45 + 40 + 40 * 2 * longer, 3)
    assert costs_ms(stage.assign("aaaa", now_s=now_s)) == [cost, cost]


def test_so_do_they_for_jobs_beside_it_and_a_half_is_the_most() -> None:
    """30 s of 10: 45 * 2 + 40 + 40 * 3 * 2."""
    stage = Stage("preble", instances=1)
    stage.end(stage.put(GPU0, "", extra_tokens=30_000), GPU0)
    run(stage, GPU0, "x")
    assert costs_ms(stage.assign("aaaa")) == [90 + 40 + 120 * 2]


# What it brings in evicts what is computed again.


@pytest.mark.parametrize(("times", "longer"), [(0, 1), (1, 2), (3, 2)])
def test_what_all_evict_and_compute_again_makes_a_prefill_longer(times: int, longer: float) -> None:
    """A prompt of 40 ms, and the same as often again: others' wait times 1 / (1 - a)."""
    stage = Stage(UNHURRIED, instances=1)
    for _ in range(1 + times):
        stage.end(stage.put(GPU0, "xxxx"), GPU0)
    assert costs_ms(stage.assign("aaaa")) == [45 + 40 + 40 * 2 * longer]


def test_what_one_evicts_and_another_holds_does_not() -> None:
    stage = Stage(UNHURRIED, instances=2)
    stage.store(GPU1, "xxxx")
    for _ in range(2):
        stage.end(stage.put(GPU0, "xxxx"), GPU0)
    assert costs_ms(stage.assign("aaaa")) == [165, 165]


# KV memory: 200 tokens; a job needs its prompt and 45 + 10 more, and stays 10 s.


def test_where_memory_is_short_it_waits_at_least_until_a_job_ends() -> None:
    """gpu0 has 95 of 200 in use, 30 are missing of 135; its only job stays 10 s, and 4 that come
    wait, too."""
    stage = Stage(UNHURRIED, capacity_blocks=20)
    stay(stage, GPU0, 10)
    run(stage, GPU0, "xxxx")
    waits = 4 * 10_000
    assert costs_ms(stage.assign("aaaaaaaa")) == [45 * 2 + 80 * 4 + waits, 45 + 80 * 3]


def test_the_more_memory_is_missing_the_longer_it_waits() -> None:
    """190 of 200 in use by two jobs, 125 missing of 135: 125 / 190 of a stay, more than half."""
    stage = Stage(UNHURRIED, instances=1, capacity_blocks=20)
    stay(stage, GPU0, 10)
    run(stage, GPU0, "xxxx", "yyyy")
    waits = round(4 * 10_000 * 125 / 190, 3)
    assert costs_ms(stage.assign("aaaaaaaa")) == [45 * 3 + 80 * 5 + waits]


def test_what_jobs_there_share_with_it_is_not_missing() -> None:
    """Of 260 tokens 100 are free on gpu0, where 5 of its 9 blocks are in use: 40 + 55 are enough.
    On gpu1 60 are free of 260, and 85 are missing: half a stay, until one of two jobs ends."""
    stage = Stage(UNHURRIED, capacity_blocks=26)
    stay(stage, GPU0, 10)
    run(stage, GPU0, "SSSS", "SSSSS")
    run(stage, GPU1, "xxxx", "yyyyy")
    waits = 4 * 10_000 / 2
    assignment = stage.assign("SSSSSSSSS")
    assert costs_ms(assignment) == [45 * 3 + 40 * 5, 45 * 3 + 90 * 5 + waits]


def test_memory_that_is_only_cached_is_free() -> None:
    stage = Stage(UNHURRIED, instances=1, capacity_blocks=20)
    stay(stage, GPU0, 10)
    stage.store(GPU0, "x" * 20)
    assert costs_ms(stage.assign("aaaaaaaa")) == [45 + 80 * 3]


# Whole decisions.


def test_of_equals_the_lower_id_is_taken_every_time() -> None:
    for _ in range(3):
        assert decided(Stage(UNHURRIED, instances=3).assign("aaaa"))[0] == GPU0


def test_of_equal_costs_the_fewest_jobs_are_taken() -> None:
    """One slot: two jobs there cost no more than one."""
    stage = Stage(UNHURRIED, slots=1)
    run(stage, GPU0, "x", "y")
    run(stage, GPU1, "x")
    assignment = stage.assign("aaaa")
    assert costs_ms(assignment) == [205, 205]
    assert decided(assignment)[0] == GPU1


def test_a_slower_instance_costs_more_in_proportion(reading: str) -> None:
    """gpu2's steps take 4 times as long: so do its prefills. Outputs of 11 tokens, and beside a
    job of 10: a step of 2 + 0.25 * 50, a drag of 10, and 50 * 4."""
    stage = Stage(UNHURRIED, instances=0)
    for instance in (GPU0, GPU1, GPU2):
        stage.join(instance, cost_model=reading)
    for instance, step_s in ((GPU0, 0.002), (GPU1, 0.002), (GPU2, 0.008)):
        for _ in range(8):
            job = stage.put(instance, "", extra_tokens=10)
            stage.end(job, instance, output_tokens=11, decode_s=10 * step_s)
        run(stage, instance, "x")
    cost = 11 * (14.5 + 10) + 200
    assert costs_ms(stage.assign("aaaa")) == [cost, cost, 4 * cost]


def test_an_instance_with_more_slots_decodes_more_at_once() -> None:
    """Which makes its steps longer, with as many jobs there."""
    stage = Stage(UNHURRIED, instances=0)
    for instance, slots in ((GPU0, 4), (GPU1, 2)):
        stage.join(instance, slots=slots)
        run(stage, instance, *"wxyz")
    assert costs_ms(stage.assign("aaaa")) == [45 * 4 + 40 * 7, 45 * 2 + 40 * 5]


@pytest.mark.parametrize(("jobs", "taken"), [(0, GPU0), (1, GPU0), (2, GPU0), (3, GPU1)])
def test_a_hot_prefix_spills_from_a_holder_that_is_loaded(jobs: int, taken: InstanceId) -> None:
    """There 10 ms are missed, and each job of 50 ms costs 50 + 45 + 10: 75 + 105 jobs. Elsewhere
    90 are missed: 45 + 90 * 3 = 315."""
    stage = Stage(UNHURRIED)
    stage.store(GPU0, "SSSSSSSS")
    for _ in range(jobs):
        stage.put(GPU0, "", extra_tokens=50)
    assignment = stage.assign("SSSSSSSSu")
    assert costs_ms(assignment) == [75 + 105 * jobs, 315]
    assert decided(assignment)[0] == taken


def test_a_prefix_that_spilled_is_expected_on_both() -> None:
    """The fifth job spills: 75 + 65 * 4 > 315. From then on both take such jobs."""
    stage = Stage(UNHURRIED, slots=32)
    stage.store(GPU0, "SSSSSSSS")
    taken = [stage.assign("SSSSSSSS" + chr(0x100 + number)).instance_id for number in range(24)]
    assert taken[:5] == [GPU0] * 4 + [GPU1]
    assert 10 <= taken.count(GPU1) <= 13

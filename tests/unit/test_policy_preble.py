"""`preble`, term by term: what a placement costs, worked by hand.

A token takes 1 ms to prefill, and a step 1 ms for each job that decodes. Outputs are of 45 tokens
where none was observed. So a job of 40 tokens costs an empty instance

    backlog 0  +  output * step 45 * 1 ms  +  2 P * (n + 4) = 2 * 40 ms * 4     =  365 ms
"""

import pytest
from scheduler_support import GPU0, GPU1, GPU2, Stage, decided

from preble.messages import Assignment, InstanceId


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
    assignment = Stage("preble", instances=1).assign("aaaa")
    assert costs_ms(assignment) == [365]
    assert decided(assignment) == (GPU0, "least_delay")


def test_it_waits_for_the_prefills_placed_before_it() -> None:
    """A job on each; that of gpu1 has been computed: 45 * 2 + 2 * 40 * 5, and 70 of backlog."""
    stage = Stage("preble")
    stage.put(GPU0, "xxxxxxx")
    run(stage, GPU1, "yyyyyyy")
    assignment = stage.assign("aaaa")
    assert costs_ms(assignment) == [490 + 70, 490]
    assert decided(assignment) == (GPU1, "least_delay")


def test_it_decodes_and_others_stand_still_with_every_job_there() -> None:
    """With each: 45 * 1 ms of longer steps, and 2 * 40 ms that one more stands still."""
    stage = Stage("preble", instances=4)
    for number in range(1, 4):
        run(stage, InstanceId(f"gpu{number}"), *"xyz"[:number])
    assert costs_ms(stage.assign("aaaa")) == [365 + number * (45 + 80) for number in range(4)]


def test_jobs_beyond_the_slots_neither_decode_nor_stand_still() -> None:
    """On 2 slots: 45 * 2 + 2 * 40 * 6, whether 2, 3 or 4 jobs are there."""
    stage = Stage("preble", instances=3, slots=2)
    for number, jobs in enumerate(("uv", "uvw", "uvwx")):
        run(stage, InstanceId(f"gpu{number}"), *jobs)
    assert costs_ms(stage.assign("aaaa")) == [570, 570, 570]


def test_what_is_held_or_expected_is_not_computed() -> None:
    """10 ms of 50 are missed: 45 + 2 * 10 * 4, and by the job there 40 + 45 + 2 * 10."""
    stage = Stage("preble", instances=3)
    stage.store(GPU1, "SSSS")
    stage.put(GPU2, "SSSS")
    assert costs_ms(stage.assign("SSSSu")) == [45 + 400, 45 + 80, 45 + 80 + 40 + 45 + 20]


def test_outputs_are_as_long_as_they_were_in_the_window() -> None:
    """11 tokens: 11 * 1 + 2 * 40 * 4."""
    stage = Stage("preble", instances=1)
    stage.end(stage.put(GPU0, ""), GPU0, output_tokens=11)
    assert costs_ms(stage.assign("aaaa")) == [331]


# KV memory: 200 tokens; a job needs its prompt and 45 + 10 more, and stays 10 s.


def test_where_memory_is_short_it_waits_at_least_until_a_job_ends() -> None:
    """gpu0 has 95 of 200 in use, 30 are missing of 135; its only job stays 10 s, and 4 that come
    wait, too."""
    stage = Stage("preble", capacity_blocks=20)
    stay(stage, GPU0, 10)
    run(stage, GPU0, "xxxx")
    waits = 4 * 10_000
    assert costs_ms(stage.assign("aaaaaaaa")) == [45 * 2 + 2 * 80 * 5 + waits, 45 + 2 * 80 * 4]


def test_the_more_memory_is_missing_the_longer_it_waits() -> None:
    """190 of 200 in use by two jobs, 125 missing of 135: 125 / 190 of a stay, more than half."""
    stage = Stage("preble", instances=1, capacity_blocks=20)
    stay(stage, GPU0, 10)
    run(stage, GPU0, "xxxx", "yyyy")
    waits = round(4 * 10_000 * 125 / 190, 3)
    assert costs_ms(stage.assign("aaaaaaaa")) == [45 * 3 + 2 * 80 * 6 + waits]


def test_what_jobs_there_share_with_it_is_not_missing() -> None:
    """Of 260 tokens 100 are free on gpu0, where 5 of its 9 blocks are in use: 40 + 55 are enough.
    On gpu1 60 are free of 260, and 85 are missing: half a stay, until one of two jobs ends."""
    stage = Stage("preble", capacity_blocks=26)
    stay(stage, GPU0, 10)
    run(stage, GPU0, "SSSS", "SSSSS")
    run(stage, GPU1, "xxxx", "yyyyy")
    waits = 4 * 10_000 / 2
    assignment = stage.assign("SSSSSSSSS")
    assert costs_ms(assignment) == [45 * 3 + 2 * 40 * 6, 45 * 3 + 2 * 90 * 6 + waits]


def test_memory_that_is_only_cached_is_free() -> None:
    stage = Stage("preble", instances=1, capacity_blocks=20)
    stay(stage, GPU0, 10)
    stage.store(GPU0, "x" * 20)
    assert costs_ms(stage.assign("aaaaaaaa")) == [45 + 2 * 80 * 4]


# Whole decisions.


def test_of_equals_the_lower_id_is_taken_every_time() -> None:
    for _ in range(3):
        assert decided(Stage("preble", instances=3).assign("aaaa"))[0] == GPU0


def test_of_equal_costs_the_fewest_jobs_are_taken() -> None:
    """One slot: two jobs there cost no more than one."""
    stage = Stage("preble", slots=1)
    run(stage, GPU0, "x", "y")
    run(stage, GPU1, "x")
    assignment = stage.assign("aaaa")
    assert costs_ms(assignment) == [445, 445]
    assert decided(assignment)[0] == GPU1


def test_a_slower_instance_costs_more_in_proportion() -> None:
    """gpu2's steps take 4 times as long: so do its prefills. Outputs of 11 tokens."""
    stage = Stage("preble", instances=3)
    for instance, step_s in ((GPU0, 0.002), (GPU1, 0.002), (GPU2, 0.008)):
        for _ in range(8):
            job = stage.put(instance, "", extra_tokens=10)
            stage.end(job, instance, output_tokens=11, decode_s=10 * step_s)
    assert costs_ms(stage.assign("aaaa")) == [331, 331, 4 * 331]


def test_an_instance_with_more_slots_decodes_more_at_once() -> None:
    """Which makes its steps longer, with as many jobs there."""
    stage = Stage("preble", instances=0)
    for instance, slots in ((GPU0, 4), (GPU1, 2)):
        stage.join(instance, slots=slots)
        run(stage, instance, *"wxyz")
    assert costs_ms(stage.assign("aaaa")) == [45 * 4 + 80 * 8, 45 * 2 + 80 * 6]


@pytest.mark.parametrize(("jobs", "taken"), [(0, GPU0), (5, GPU0), (6, GPU1)])
def test_a_hot_prefix_spills_from_a_holder_that_is_loaded(jobs: int, taken: InstanceId) -> None:
    """There 10 ms are missed, and each job of 50 ms costs 50 + 45 + 20: 125 + 115 jobs. Elsewhere
    90 are missed: 45 + 2 * 90 * 4 = 765."""
    stage = Stage("preble")
    stage.store(GPU0, "SSSSSSSS")
    for _ in range(jobs):
        stage.put(GPU0, "", extra_tokens=50)
    assignment = stage.assign("SSSSSSSSu")
    assert costs_ms(assignment) == [125 + 115 * jobs, 765]
    assert decided(assignment)[0] == taken


def test_a_prefix_that_spilled_is_expected_on_both() -> None:
    """The tenth job spills: 125 + 75 * 9 > 765. From then on both take such jobs."""
    stage = Stage("preble", slots=32)
    stage.store(GPU0, "SSSSSSSS")
    taken = [stage.assign("SSSSSSSS" + chr(0x100 + number)).instance_id for number in range(24)]
    assert taken[:10] == [GPU0] * 9 + [GPU1]
    assert 10 <= taken.count(GPU1) <= 13

"""What is drawn is the same for a seed, and what is measured is what happened."""

import asyncio
from itertools import islice

import pytest
from chaos.faults import KINDS
from chaos.injector import Done, draw_schedule
from chaos.memory import Sample, check_memory
from chaos.outcome import pauses_s
from chaos.pace import AHEAD, Pace
from chaos.workload import draw_batches

MEGA = 1_000_000


def test_a_seed_draws_the_same_faults_and_another_seed_others() -> None:
    assert draw_schedule(1, 50, KINDS) == draw_schedule(1, 50, KINDS)
    assert draw_schedule(1, 50, KINDS) != draw_schedule(2, 50, KINDS)


def test_each_kind_comes_before_any_is_left_out() -> None:
    drawn = [each.kind for each in draw_schedule(1, len(KINDS), KINDS)]
    assert {kind.name for kind in drawn} == {kind.name for kind in KINDS}
    assert len(draw_schedule(1, 5, KINDS)) == 5


def test_faults_are_held_as_long_as_their_kind_says() -> None:
    for each in draw_schedule(3, 200, KINDS):
        shortest_s, longest_s = each.kind.hold_s
        assert shortest_s <= each.hold_s <= longest_s


def test_batches_are_the_same_for_a_seed_under_keys_of_their_own() -> None:
    batches = list(islice(draw_batches(7), 50))
    assert len({batch.key for batch in batches}) == 50
    again = islice(draw_batches(7), 50)
    assert [batch.body() for batch in batches] == [batch.body() for batch in again]


@pytest.mark.anyio
async def test_neither_jobs_nor_faults_run_ahead() -> None:
    """10 jobs for each fault."""
    pace = Pace(1_000, 100)
    await pace.submit(AHEAD * 10 + 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await pace.submit(1)
    for _ in range(AHEAD + 1):
        await pace.begin_fault()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await pace.begin_fault()
    await pace.submit(1)


@pytest.mark.anyio
async def test_refused_jobs_are_submitted_anew_after_the_last_fault() -> None:
    pace = Pace(10, 5)
    for _ in range(5):
        await pace.submit(2)
        await pace.begin_fault()
    async with asyncio.timeout(5):
        await pace.submit(50)
        await pace.submit(50)


@pytest.mark.anyio
async def test_the_last_faults_come_though_no_job_is_left() -> None:
    pace = Pace(10, 5)
    await pace.submit(10)
    async with asyncio.timeout(5):
        for _ in range(5):
            await pace.begin_fault()


def test_a_pause_is_the_longest_stretch_without_a_job_that_the_fault_touches() -> None:
    ended_at_s = [1.0, 2.0, 6.5, 7.0, 30.0]
    pauses = pauses_s([Done("kill", "gpu0", 3.0, 4.0), Done("kill", "gpu1", 7.0, 7.5)], ended_at_s)
    assert pauses == {"kill": [4.5, 23.0]}


def test_a_pause_before_a_fault_is_not_its_own() -> None:
    pauses = pauses_s([Done("kill", "gpu0", 20.5, 20.6)], [0.0, 20.0, 21.0, 22.0, 23.0])
    assert pauses == {"kill": [1.0]}


def growing(bytes_per_s: int) -> list[Sample]:
    return [Sample("api0", at, 100.0, 80 * MEGA + int(at * bytes_per_s)) for at in range(101)]


def test_memory_that_grows_is_found() -> None:
    assert check_memory(growing(0)) == []
    assert [each.job_id for each in check_memory(growing(3 * MEGA))] == ["api0"]


def test_a_process_that_loads_its_code_does_not_count() -> None:
    young = [Sample("api0", at, 1.0, at * MEGA) for at in range(101)]
    assert check_memory(young) == []

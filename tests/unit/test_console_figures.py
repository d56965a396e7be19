"""What the console computes: rates of the fleet, icicles, timelines, alternatives, the heat map."""

import pytest
from support import record

from preble.cached_prefixes import CachedPrefixes
from preble.messages import (
    Candidate,
    InstanceId,
    InstanceReport,
    InstanceView,
    JobId,
    JobResult,
    JobSpec,
    JobState,
    JobView,
    SamplingParams,
)
from preble.prefix_tree import Drawing, DrawnNode
from preble_api.console.decision_card import alternatives_of
from preble_api.console.fleet import Sample, fleet_of
from preble_api.console.formats import NOT_KNOWN, compact, seconds
from preble_api.console.icicle import icicle_of, icicle_of_all
from preble_api.console.latency import heat_map_of
from preble_api.console.timeline import timeline_of


def instance(name: str, used: int, capacity: int) -> InstanceView:
    made = record(name)
    return InstanceView(
        instance_id=InstanceId(name), state="ready", record=made, assigned=1, running=2,
        drained_at_s=None, renewed_ago_s=0.5, unsaved_batches=used // 100, lost_batches=0,
        report=InstanceReport(kv_used_tokens=used * capacity // 10_000),
    )  # fmt: skip


def sample(at_s: float, **totals: int) -> Sample:
    return Sample(at_s, waiting=3, assigned=2, running=4, totals=totals)


def test_rates_are_of_the_last_minute_and_totals_of_all() -> None:
    """Of 100 tokens since, 80 came from the cache: 20 in 20 s were computed."""
    before = sample(
        100.0, completed=10, prompt_tokens=1_000, hit_tokens_predicted=500,
        hit_tokens_delivered=400,
    )  # fmt: skip
    now = sample(
        120.0, completed=30, prompt_tokens=1_100, hit_tokens_predicted=590,
        hit_tokens_delivered=480,
    )  # fmt: skip
    strip = fleet_of([instance("gpu0", 2_000, 10_000)], [before, now]).strip
    assert strip.completed_per_s == pytest.approx(1.0)
    assert strip.uncached_tokens_per_s == pytest.approx(1.0)
    assert strip.uncached_tokens == 620
    assert strip.lately_predicted == pytest.approx(0.9)
    assert strip.lately_delivered == pytest.approx(0.8)
    assert strip.hit_rate_delivered == pytest.approx(480 / 1_100)


def test_what_is_not_known_is_no_zero() -> None:
    strip = fleet_of([], [sample(1.0)]).strip
    told = (strip.kv_use, strip.completed_per_s, strip.lately_delivered, strip.hit_rate_predicted)
    assert told == (None, None, None, None)


def test_moments_long_ago_do_not_count() -> None:
    moments = [sample(0.0), sample(1_000.0, completed=5), sample(1_010.0, completed=15)]
    assert fleet_of([], moments).strip.completed_per_s == pytest.approx(1.0)


def test_event_lag_is_the_greatest_and_kv_use_that_of_the_pool() -> None:
    strip = fleet_of([instance("a", 2_000, 10_000), instance("b", 4_000, 10_000)], [sample(1.0)])
    assert strip.strip.event_lag_batches == 40
    assert strip.strip.kv_use == pytest.approx(0.3)


def node(depth: int, blocks: int, cached: int, **held: int) -> DrawnNode:
    return DrawnNode(
        depth=depth, first_key=f"{blocks:016x}", start_blocks=0, blocks=blocks, held_blocks=held,
        hits={"a": 3} if "a" in held else {}, expected_jobs={}, cached_blocks=cached,
        omitted_nodes=0,
    )  # fmt: skip


TREE = CachedPrefixes(
    "default", 64, {InstanceId("a"): 100, InstanceId("b"): 100},
    Drawing(
        (node(0, 10, 40, a=10, b=10), node(1, 20, 20, a=20), node(1, 10, 10, b=10)), 40,
        {"a": 30, "b": 20}, 0,
    ),
)  # fmt: skip
"""Ten blocks that all begin with; 20 behind them on a, 10 on b."""


def test_an_icicle_is_as_wide_as_what_lies_behind() -> None:
    cells = icicle_of_all(TREE, 100).cells
    assert [(cell.depth, cell.left, cell.share) for cell in cells] == [
        (0, 0.0, 1.0), (1, 0.0, 0.5), (1, 0.5, 0.25),
    ]  # fmt: skip


def test_an_icicle_of_one_instance_has_its_blocks_alone() -> None:
    icicle = icicle_of(TREE, "a", 100)
    assert (icicle.tokens, icicle.use) == (30 * 64, 0.3)
    assert [cell.share for cell in icicle.cells] == pytest.approx([1.0, 2 / 3])
    assert icicle.cells[0].jobs == 3
    other = icicle_of(TREE, "b", 100)
    assert [(cell.left, cell.share) for cell in other.cells] == [(0.0, 1.0), (0.0, 0.5)]
    assert (icicle.omitted, other.omitted) == (0, 0)


def test_of_many_prefixes_the_largest_are_drawn_and_the_others_counted() -> None:
    icicle = icicle_of_all(TREE, 2)
    assert (len(icicle.cells), icicle.omitted) == (2, 1)


def view(
    state: JobState = JobState.COMPLETED, *, begun_s: float = 100.0, took_s: float = 5.0,
    assigned_at_s: float | None = None, started_at_s: float | None = None,
    result: JobResult | None = None,
) -> JobView:  # fmt: skip
    return JobView(
        JobId("j"), state, JobSpec(10, SamplingParams()), 1, begun_s,
        assigned_at_s=assigned_at_s, started_at_s=started_at_s, result=result,
        ended_at_s=begun_s + took_s if state.is_terminal else None,
    )  # fmt: skip


def test_a_timeline_goes_from_mark_to_mark() -> None:
    """Five seconds: 1 queued, 1 queued there, 1 held back, 0.5 of prefill, 1.5 of decode."""
    result = JobResult("t", (1,), "stop", 10, 1, 0, ttft_s=0.5, engine_s=2.0)
    drawn = timeline_of(view(assigned_at_s=101.0, started_at_s=102.0, result=result), now_s=1_000.0)
    assert [(stage.name, stage.took_s) for stage in drawn.stages] == [
        ("queued", 1.0), ("queued there", 1.0), ("held back", 1.0), ("prefill", 0.5),
        ("decode", 1.5),
    ]  # fmt: skip
    assert [mark.name for mark in drawn.marks][-2:] == ["first token", "completed"]
    assert sum(stage.share for stage in drawn.stages) == pytest.approx(1.0)


def test_the_timeline_of_a_job_that_goes_on_ends_now() -> None:
    drawn = timeline_of(view(JobState.WAITING), now_s=107.0)
    assert [(stage.name, stage.took_s) for stage in drawn.stages] == [("queued", 7.0)]
    assert not drawn.has_ended


def test_a_worker_whose_durations_are_too_long_moves_no_mark_before_the_claim() -> None:
    result = JobResult("t", (1,), "stop", 10, 1, 0, ttft_s=90.0, engine_s=99.0)
    drawn = timeline_of(view(started_at_s=102.0, result=result), now_s=0.0)
    assert all(stage.took_s >= 0 for stage in drawn.stages)


def candidate(name: str, load_s: float, prefill_s: float, outstanding: int = 0) -> Candidate:
    return Candidate(InstanceId(name), 64, load_s, prefill_s, 0.1, outstanding, 1.0)


def test_other_rules_are_told_by_what_they_would_have_computed() -> None:
    """Prefill and eviction: 0.3 chosen; 1.1 where the load is least; in the mean 0.7."""
    weighed = [candidate("a", 9.0, 0.2), candidate("b", 1.0, 1.0), candidate("c", 5.0, 0.6)]
    chosen, least, mean = alternatives_of(weighed, "a")
    assert [each.instance for each in (chosen, least)] == ["a", "b"]
    assert [each.computed_s for each in (chosen, least, mean)] == pytest.approx([0.3, 1.1, 0.7])
    assert [each.saved_s for each in (chosen, least, mean)] == pytest.approx([0.0, 0.8, 0.4])
    assert mean.load_s == pytest.approx(5.0)


def test_of_equal_loads_the_one_with_the_fewest_jobs_is_least() -> None:
    weighed = [candidate("a", 1.0, 0.2, outstanding=5), candidate("b", 1.0, 1.0, outstanding=2)]
    assert alternatives_of(weighed, "a")[1].instance == "b"


def test_without_a_record_there_is_nothing_to_compare() -> None:
    assert alternatives_of((), "a") == []


def test_a_heat_map_counts_every_job_once() -> None:
    jobs = [view(begun_s=100.0 + n, took_s=0.01 * 1.5**n) for n in range(20)]
    drawn = heat_map_of(jobs, "total")
    assert drawn
    assert sum(cell.jobs for cell in drawn.cells) == sum(row.jobs for row in drawn.rows) == 20
    assert all(0 <= cell.left < 1 and 0 <= cell.top < drawn.height for cell in drawn.cells)
    assert all(row.low_s < row.high_s for row in drawn.rows)


def test_durations_of_very_many_sizes_are_bounded_to_so_many_rows() -> None:
    drawn = heat_map_of([view(took_s=took_s) for took_s in (0.0, 0.002, 5.0, 90_000.0)], "total")
    assert drawn
    assert len(drawn.rows) == 18
    assert sum(row.jobs for row in drawn.rows) == 4


def test_what_was_never_claimed_has_no_time_of_running() -> None:
    assert heat_map_of([view()], "run") is None


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0123, "12.3 ms"), (3.456, "3.46 s"), (125.0, "2 min 5 s"), (3_725.0, "1 h 2 min"),
     (90_000.0, "1 d 1 h"), (None, NOT_KNOWN), (0.0, "0 s")],
)  # fmt: skip
def test_durations_are_told_briefly(value: float | None, told: str) -> None:
    assert seconds(value) == told


def test_large_figures_are_told_in_three_digits() -> None:
    assert [compact(each) for each in (12, 12_345, 1_234_567, None)] == [
        "12", "12.3 k", "1.23 M", NOT_KNOWN,
    ]  # fmt: skip

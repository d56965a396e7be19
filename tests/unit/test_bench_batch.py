"""What `preble bench batch` concludes from its rows; the stacks it runs on have other tests."""

import pytest

from preble.bench.batch import BatchRow, WayName, figures_of
from preble.bench.cpu import CpuFigures
from preble.bench.partitions import Reference
from preble.config import Settings
from preble.messages import pack_keys
from preble.simulator.workload import TimedRequest, Workload

BATCH = Workload("w", 64, (TimedRequest(0.0, 70, 4, pack_keys([1])),) * 3)
SETTINGS = Settings(engine="emulated", workers=8, emulated_speed=4.0)
REFERENCE = Reference(makespan_s=100.0, shortest_part_s=98.0, hit_rate=0.9)


def row(way: WayName, makespan_s: float) -> BatchRow:
    cpu = CpuFigures(2, {}, 0.0, is_limit=False)
    return BatchRow(way, makespan_s, 3, 3 / makespan_s, 0.9, 0.1, 1.0, cpu)


@pytest.mark.parametrize(
    ("preble_s", "other_s", "is_within", "is_better"),
    [(110.0, 330.0, True, True), (110.1, 331.0, False, True), (101.0, 302.9, True, False)],
)
def test_both_bounds_hold_at_their_ends_and_not_beyond(
    preble_s: float, other_s: float, *, is_within: bool, is_better: bool
) -> None:
    rows = [row("preble", preble_s), row("least_outstanding", other_s)]
    figures = figures_of(SETTINGS, BATCH, REFERENCE, rows)
    assert figures.is_within_reference is is_within
    assert figures.is_times_better is is_better


def test_what_was_not_run_is_not_compared() -> None:
    figures = figures_of(SETTINGS, BATCH, REFERENCE, [row("least_outstanding", 300.0)])
    assert figures.over_reference is figures.times_better is None
    assert figures.is_within_reference is figures.is_times_better is None
    alone = figures_of(SETTINGS, BATCH, REFERENCE, [row("preble", 105.0)])
    assert alone.over_reference == 1.05
    assert alone.is_times_better is None

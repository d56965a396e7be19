"""The reference of an offline batch: contiguous parts that take equally long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from preble.bench.partitions import cut, run_partitioned
from preble.config import Settings
from preble.messages import pack_keys
from preble.simulator.workload import TimedRequest, Workload

SETTINGS = Settings(engine="emulated", workers=2)


def requests(*documents: int) -> tuple[TimedRequest, ...]:
    """Of 20 blocks each; the same number, the same document."""
    return tuple(
        TimedRequest(0.0, 20 * 64 + 30, 4, pack_keys(range(100 * each, 100 * each + 20)))
        for each in documents
    )


@given(st.data())
def test_parts_are_contiguous_complete_and_never_empty(data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.floats(0.01, 100), min_size=3, max_size=40))
    number = data.draw(st.integers(1, len(weights)))
    given_ = requests(*range(len(weights)))
    parts = cut(given_, weights, number)
    assert [each for part in parts for each in part] == list(given_)
    assert len(parts) == number
    assert all(parts)


def test_a_part_exceeds_its_share_by_less_than_one_request() -> None:
    parts = cut(requests(*range(8)), [1, 1, 1, 1, 4, 4, 2, 2], 2)
    assert [len(part) for part in parts] == [5, 3]


def test_a_document_is_computed_once_where_the_cut_leaves_it_whole() -> None:
    workload = Workload("w", 64, requests(1, 1, 1, 1, 2, 2, 2, 2))
    # Small chunks: a prompt begins when the one before it has been computed.
    found = run_partitioned(workload, replace(SETTINGS, chunk_tokens=64))
    held = 20 * 64 / (20 * 64 + 30)
    assert found.hit_rate == pytest.approx(held * 6 / 8, abs=1e-3)
    assert found.shortest_part_s == found.makespan_s


def test_faster_engines_take_less_by_as_much() -> None:
    workload = Workload("w", 64, requests(*range(6)))
    real = run_partitioned(workload, SETTINGS)
    fast = run_partitioned(workload, replace(SETTINGS, emulated_speed=0.5))
    assert fast.makespan_s == pytest.approx(2 * real.makespan_s, abs=0.02)

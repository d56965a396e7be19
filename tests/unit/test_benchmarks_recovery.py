"""A burst, what it leaves, and a fresh start with the same."""

import pytest
from msgspec.structs import replace

from benchmarks.recovery import drained_per_s, fresh_start, recovery
from preble.messages import BlockKeys
from preble.simulator.outcome import PoolSettings, Served
from preble.simulator.run import EngineSettings
from preble.simulator.source import Source
from preble.simulator.workload import TimedRequest, Workload


def request(at_s: float) -> TimedRequest:
    return TimedRequest(at_s, 100, 4, BlockKeys(b""))


def served(at_s: float, ended_at_s: float) -> Served:
    return Served(request(at_s), 0, at_s, ended_at_s, ended_at_s, 0, 0, 0, 0)


def test_a_fresh_start_has_the_last_of_the_backlog_and_all_that_follows() -> None:
    workload = Workload("w", 64, tuple(map(request, (0.0, 1.0, 2.0, 3.0, 5.0, 9.0))))
    fresh = fresh_start(workload, 3.0, 2)
    assert [one.at_s for one in fresh.requests] == [0.0, 0.0, 2.0, 6.0]


def test_draining_counts_until_the_level_is_reached() -> None:
    """Ten at once, one ends each second, one more comes at 2.5 s and one at 50 s."""
    ten = [served(0.0, float(end)) for end in range(1, 11)]
    rest = [served(2.5, 11.0), served(50.0, 51.0)]
    assert drained_per_s([*ten, *rest], level=4) == pytest.approx(6 / 7)


def test_after_the_last_arrival_nothing_counts() -> None:
    """Four at once end too late; when the last one comes, five are there."""
    four = [served(0.0, 100.0) for _ in range(4)]
    assert drained_per_s([*four, served(10.0, 100.0)], level=0) == pytest.approx(-1 / 10)


def test_where_there_is_no_backlog_nothing_drains() -> None:
    assert drained_per_s([served(0.0, 1.0), served(5.0, 6.0)], level=1) == 0
    assert drained_per_s([], level=1) == 0


def test_a_pool_that_keeps_no_cache_recovers_like_a_fresh_one() -> None:
    engine = EngineSettings(cost_model="mistral_7b_a6000", kv_capacity_tokens=20_000, slots=4)
    pool = PoolSettings(policy="least_outstanding", engine=engine, speeds=(1.0, 1.0))
    source = Source(workload="programming", num_requests=400)
    found = recovery(source, pool, seed=1, rps=1.2, load=0.8)
    assert found.drain.level_at_end > 5 * found.drain.level_before
    assert 0.5 < (found.share or 0) < 2
    slower = recovery(source, replace(pool, speeds=(0.6, 0.6)), seed=1, rps=1.2, load=0.8)
    assert slower.drain.drained_per_s < found.drain.drained_per_s

"""The makespan of a batch that is sorted by prefix and cut into parts."""

import pytest

from preble.errors import ConfigError
from preble.simulator.outcome import PoolSettings
from preble.simulator.reference import sorted_and_partitioned_makespan_s
from preble.simulator.replay import replay
from preble.simulator.run import EngineSettings
from preble.simulator.workload import Workload, as_batch, by_prefix_order, create_workload

ENGINE = EngineSettings(cost_model="mistral_7b_a6000", kv_capacity_tokens=40_000)


def pool(*speeds: float) -> PoolSettings:
    return PoolSettings(policy="least_outstanding", engine=ENGINE, speeds=speeds)


def batch(num_requests: int = 200) -> Workload:
    drawn = create_workload("video", seed=1, num_requests=num_requests, rps=1.0, num_groups=20)
    return as_batch(drawn, seed=1)


def test_one_instance_runs_the_sorted_batch_as_it_stands() -> None:
    replayed = replay(by_prefix_order(batch()), pool(1.0))
    last_s = max(one.ended_at_s for one in replayed.served)
    assert sorted_and_partitioned_makespan_s(batch(), pool(1.0)) == pytest.approx(last_s)


def test_the_order_in_which_a_batch_comes_does_not_matter() -> None:
    in_order = sorted_and_partitioned_makespan_s(by_prefix_order(batch()), pool(1.0, 1.0))
    assert in_order == pytest.approx(
        sorted_and_partitioned_makespan_s(batch(), pool(1.0, 1.0)), 0.05
    )


@pytest.mark.parametrize("speeds", [(1.0,) * 4, (1.5, 1.0, 1.0, 0.5), (0.5, 3.5)])
def test_instances_of_any_speed_end_about_together(speeds: tuple[float, ...]) -> None:
    """All have the speed of four: no more than a document is between a quarter and the makespan."""
    alone_s = sorted_and_partitioned_makespan_s(batch(), pool(1.0))
    together_s = sorted_and_partitioned_makespan_s(batch(), pool(*speeds))
    assert alone_s / 4 < together_s < 1.25 * alone_s / 4


def test_it_is_far_below_what_placement_without_caches_takes() -> None:
    replayed = replay(batch(), pool(1.0, 1.0, 1.0, 1.0))
    blind_s = max(one.ended_at_s for one in replayed.served)
    assert sorted_and_partitioned_makespan_s(batch(), pool(1.0, 1.0, 1.0, 1.0)) < 0.6 * blind_s


def test_instances_beyond_the_requests_do_nothing() -> None:
    (one,) = batch(20).requests[:1]
    few = Workload("few", 64, (one,))
    alone_s = sorted_and_partitioned_makespan_s(few, pool(1.0))
    assert sorted_and_partitioned_makespan_s(few, pool(1.0, 1.0, 1.0)) == alone_s


def test_requests_that_come_one_by_one_are_no_batch() -> None:
    drawn = create_workload("video", seed=1, num_requests=20, rps=1.0)
    with pytest.raises(ConfigError, match="one by one"):
        sorted_and_partitioned_makespan_s(drawn, pool(1.0))

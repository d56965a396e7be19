"""What making room costs, read from a curve that is drawn as far as it was asked for."""

from array import array
from collections.abc import Iterator

import pytest
from scheduler_support import GPU0, GPU1, Stage, costs_ms

from preble.eviction import EvictionCurve
from preble.prefix_tree import Node, Victim

REQUESTS = 4.0


def victim(blocks: int, hits: int, *, start: int = 0) -> Victim:
    return Victim(Node(None, start, array("Q", range(blocks))), blocks, hits)


def second_a_block(blocks: int, _end: int) -> float:
    return float(blocks)


def curve_of(*victims: Victim) -> EvictionCurve:
    return EvictionCurve(iter(victims), REQUESTS, second_a_block)


@pytest.mark.parametrize(
    ("blocks", "cost_s"),
    [(0, 0.0), (1, 0.25), (4, 1.0), (5, 1.5), (6, 2.0), (7, 2.0), (1_000, 2.0)],
)
def test_the_cost_grows_with_the_blocks_as_far_as_there_are_victims(
    blocks: int, cost_s: float
) -> None:
    """4 blocks of a quarter of the requests, then 2 of half of them."""
    assert curve_of(victim(4, 1), victim(2, 2)).cost_s(blocks) == pytest.approx(cost_s)


def test_answers_do_not_depend_on_what_was_asked_before() -> None:
    victims = [victim(3, 1), victim(5, 3), victim(2, 2)]
    curve = curve_of(*victims)
    for blocks in (9, 2, 4, 0, 10, 3):
        assert curve.cost_s(blocks) == curve_of(*victims).cost_s(blocks)


def test_victims_are_drawn_no_further_than_asked() -> None:
    drawn: list[int] = []

    def victims() -> Iterator[Victim]:
        for number in range(100):
            drawn.append(number)
            yield victim(4, 1)

    curve = EvictionCurve(victims(), REQUESTS, second_a_block)
    assert curve.cost_s(0) == 0
    assert drawn == []
    curve.cost_s(8)
    curve.cost_s(5)
    assert drawn == [0, 1]


def test_a_node_costs_what_computing_it_behind_its_prefix_costs() -> None:
    asked: list[tuple[int, int]] = []

    def prefill_s(blocks: int, end: int) -> float:
        asked.append((blocks, end))
        return 1.0

    EvictionCurve(iter([victim(3, 1, start=7)]), REQUESTS, prefill_s).cost_s(1)
    assert asked == [(3, 10)]


def test_with_nothing_to_evict_room_costs_nothing() -> None:
    assert curve_of().cost_s(10) == 0.0


# The curve of an instance, while things happen.


def full_stage() -> Stage:
    """A's 8 blocks (two requests), then b, then c fill gpu0, b being used before A again."""
    stage = Stage(capacity_blocks=16)
    for prompt in ("AAAAAAAA", "bbbb", "AAAAAAAA", "cccc"):
        stage.put(GPU0, prompt)
        stage.store(GPU0, prompt)
    stage.load(GPU1, 100)
    return stage


def eviction_ms(stage: Stage, blocks: int) -> float:
    """M on gpu0, asked by a job that goes elsewhere."""
    assignment = stage.assign("q" * blocks, name="probe")
    assert assignment.instance_id == GPU1
    stage.scheduler.forget(assignment.job_id)
    return costs_ms(assignment)["gpu0"][1]


def test_a_hit_a_store_and_an_eviction_change_what_falls_next() -> None:
    """bbbb, 40 of a quarter; hit again, it is 40 of 2 of 5 behind A; then A falls first."""
    stage = full_stage()
    assert eviction_ms(stage, 4) == 10
    stage.put(GPU0, "bbbb")
    assert eviction_ms(stage, 4) == 0.5 * 80 * 2 / 5
    stage.evict(GPU0, "AAAAAAAA", after="AAAA")
    assert eviction_ms(stage, 4) == 0  # as many are free now
    assert eviction_ms(stage, 8) == 40 * 2 / 5


def test_a_split_by_another_instances_request_does_not_lose_victims() -> None:
    """All that falls: 40/4 of bbbb, 80 * 2/4 of A, 40/4 of cccc, however A is cut."""
    stage = full_stage()
    assert eviction_ms(stage, 4) == 10
    stage.put(GPU1, "AAAAzz")
    assert eviction_ms(stage, 16) == 10 + 40 + 10


def test_every_request_of_the_window_makes_a_nodes_share_smaller() -> None:
    """40 of a quarter of the requests; of a fifth, when a short one has come."""
    stage = full_stage()
    assert eviction_ms(stage, 4) == 10
    stage.load(GPU0, 100)
    assert eviction_ms(stage, 4) == 8

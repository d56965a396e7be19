"""Whose batches are driven, in which order, and how long one rests that could not be driven."""

import pytest

from preble.clock import ManualClock
from preble_api.batches.places import MOST_DRIVEN, MOST_ENDING, Places
from preble_api.batches.troubles import LONGEST_REST_S, MOST_BUGS, REST_S, Troubles
from preble_api.files.layout import OpenBatch


def batches(tenant: str, number: int, *, begin: int = 0) -> list[OpenBatch]:
    return [OpenBatch(tenant, f"batch_{each:032}") for each in range(begin, begin + number)]


def fill(places: Places, waiting: list[OpenBatch]) -> None:
    for each in places.in_turn(waiting):
        if places.has_for(each.tenant):
            places.take(each)


@pytest.mark.parametrize("num_tenants", [2, 3, 4])
def test_who_comes_late_still_finds_a_place(num_tenants: int) -> None:
    places = Places()
    for number in range(num_tenants):
        tenant = f"tenant{number}"
        assert places.has_for(tenant)
        fill(places, batches(tenant, 100))
        assert not places.has_for(tenant)
    assert places.has_for("late")


def test_all_places_are_used_by_many_tenants_alike() -> None:
    places = Places()
    fill(places, [each for n in range(MOST_DRIVEN) for each in batches(str(n), 3)])
    assert not places.has_for("late")
    assert places.in_turn(batches("0", 3)) == batches("0", 2, begin=1)


def test_the_tenant_with_the_fewest_is_next_and_its_oldest_batch() -> None:
    places = Places()
    for each in batches("a", 2):
        places.take(each)
    waiting = [*batches("a", 3), *batches("b", 3, begin=10), *batches("c", 1, begin=20)]
    turns = places.in_turn(waiting)
    assert [each.tenant for each in turns] == ["b", "c", "b", "a", "b"]
    assert [each for each in turns if each.tenant == "b"] == batches("b", 3, begin=10)


def test_a_place_that_was_given_back_is_free() -> None:
    places = Places()
    fill(places, batches("a", 100))
    places.give_back(batches("a", 1)[0])
    assert places.has_for("a")
    assert places.in_turn(batches("a", 1)) == batches("a", 1)


def test_some_are_ended_besides() -> None:
    places = Places()
    ending = batches("a", MOST_ENDING)
    for each in ending:
        assert places.has_to_end()
        places.take(each, is_ending=True)
    assert not places.has_to_end()
    assert places.in_turn(ending) == []
    assert places.has_for("a")
    places.give_back(ending[0])
    assert places.has_to_end()


def test_each_rest_is_longer_up_to_a_bound() -> None:
    clock = ManualClock()
    troubles = Troubles(clock)
    for rest_s in (REST_S, 2 * REST_S, 4 * REST_S, LONGEST_REST_S, LONGEST_REST_S):
        assert not troubles.rests("b")
        troubles.note("b", is_bug=False)
        clock.advance(rest_s - 1)
        assert troubles.rests("b")
        clock.advance(1)
    assert not troubles.is_hopeless("b")


def test_bugs_are_counted_until_a_batch_has_ended() -> None:
    troubles = Troubles(ManualClock())
    for _ in range(MOST_BUGS):
        assert not troubles.is_hopeless("b")
        troubles.note("b", is_bug=True)
    troubles.forget_all_but({"b"})
    assert troubles.is_hopeless("b")
    troubles.forget_all_but({"c"})
    assert not troubles.is_hopeless("b")

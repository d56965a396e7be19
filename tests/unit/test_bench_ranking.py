"""When two sides rank alike."""

from preble.bench.ranking import rank


def test_each_pair_in_another_order_counts_once() -> None:
    ranking = rank({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 20.0, "b": 10.0, "c": 30.0})
    assert ranking.real == ("a", "b", "c")
    assert ranking.simulated == ("b", "a", "c")
    assert ranking.discordant == (("a", "b"),)
    assert ranking.kendall_distance == 1


def test_the_reverse_is_as_far_as_can_be() -> None:
    ranking = rank({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 3.0, "b": 2.0, "c": 1.0})
    assert ranking.kendall_distance == 3


def test_a_tie_on_either_side_contradicts_nothing() -> None:
    assert rank({"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 1.0}).kendall_distance == 0
    assert rank({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 1.0}).kendall_distance == 0

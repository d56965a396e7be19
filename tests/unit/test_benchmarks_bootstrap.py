"""Intervals of ratios: against distributions whose answer is known."""

import numpy as np
import pytest

from benchmarks.bootstrap import Interval, ratio_of_means


def test_a_constant_ratio_is_certain_however_much_values_vary() -> None:
    theirs = [1.0, 20.0, 3.0, 400.0]
    found = ratio_of_means([0.8 * each for each in theirs], theirs)
    assert [found.ratio, found.low, found.high] == pytest.approx([0.8, 0.8, 0.8])


def test_pairs_make_the_interval_narrow_where_values_alone_would_not() -> None:
    """Seeds from 10 to 100 s, of which ours takes 0.9 in each, with a noise of 1 %."""
    chance = np.random.default_rng(7)
    theirs = chance.uniform(10, 100, 10)
    ours = 0.9 * theirs * chance.normal(1, 0.01, 10)
    paired = ratio_of_means(ours.tolist(), theirs.tolist())
    crossed = ratio_of_means(ours.tolist(), np.roll(theirs, 3).tolist())
    assert paired.high - paired.low < 0.03
    assert crossed.high - crossed.low > 0.3
    assert paired.low < 0.9 < paired.high


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """60 experiments of 40 pairs with a true ratio of 1: 95 % hold it, give or take 8 %."""
    chance = np.random.default_rng(11)
    found = (ratio_of_means(*chance.lognormal(0, 0.5, (2, 40)).tolist()) for _ in range(60))
    assert 52 <= sum(each.low <= 1 <= each.high for each in found) < 60


def test_the_interval_is_that_of_theory_for_normal_values() -> None:
    """Mean 10 and deviation 1 over 100 pairs: 1.96 · sqrt(2) · 0.1 / 10 on either side."""
    chance = np.random.default_rng(3)
    theirs = chance.normal(10, 1, 100)
    ours = chance.normal(10, 1, 100)
    found = ratio_of_means(ours.tolist(), theirs.tolist())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 2**0.5 * 0.01, rel=0.2)
    assert found.ratio == pytest.approx(ours.mean() / theirs.mean())


def test_the_same_values_give_the_same_interval() -> None:
    values = [1.0, 2.0, 4.0], [2.0, 2.5, 3.0]
    assert ratio_of_means(*values) == ratio_of_means(*values)


def test_a_single_pair_has_no_width() -> None:
    assert ratio_of_means([3.0], [2.0]) == Interval(1.5, 1.5, 1.5)


def test_what_has_no_other_makes_no_pair() -> None:
    with pytest.raises(ValueError, match="2 and 1 values"):
        ratio_of_means([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="0 and 0"):
        ratio_of_means([], [])


def test_an_inverse_has_its_ends_the_other_way_round() -> None:
    assert Interval(0.5, 0.25, 1.0).inverse == Interval(2.0, 1.0, 4.0)

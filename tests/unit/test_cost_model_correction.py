"""The factor of an instance: found despite outliers, followed when it changes, never absurd."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preble.cost_model import StepCorrection
from preble.cost_model.correction import HIGHEST_FACTOR, LOWEST_FACTOR

DURATIONS = st.floats(allow_nan=True, allow_infinity=True) | st.floats(1e-4, 10)


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - noise, not secrets


def observe(
    correction: StepCorrection, factor: float, count: int, rng: random.Random, *,
    outliers: float = 0.0,
) -> None:  # fmt: skip
    """Steps of 20 to 300 ms that take `factor` times as long, or ten times that."""
    for _ in range(count):
        predicted_s = rng.uniform(0.02, 0.3)
        stall = 10 if rng.random() < outliers else 1
        correction.observe(predicted_s, predicted_s * factor * stall * rng.gauss(1, 0.05))


def test_it_is_one_until_there_are_enough_observations() -> None:
    correction = StepCorrection(min_observations=3)
    assert correction.factor == 1.0
    correction.observe(0.1, 0.3)
    correction.observe(0.1, 0.3)
    assert correction.factor == 1.0
    correction.observe(0.1, 0.3)
    assert correction.factor == pytest.approx(3.0)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_fifth_of_steps_that_stall_tenfold_does_not_hide_the_factor(
    factor: float, seed: int
) -> None:
    correction = StepCorrection()
    observe(correction, factor, 200, seeded(seed), outliers=0.2)
    assert correction.factor == pytest.approx(factor, rel=0.08)


@pytest.mark.parametrize("seed", range(10))
def test_it_follows_a_change_within_its_window(seed: int) -> None:
    rng = seeded(seed)
    correction = StepCorrection(window=64)
    observe(correction, 1.0, 500, rng, outliers=0.1)
    observe(correction, 2.0, 64, rng, outliers=0.1)
    assert correction.factor == pytest.approx(2.0, rel=0.08)


def test_long_steps_outvote_short_ones() -> None:
    """It is seconds that are to be right: 3 s at 2 against 0.4 s at 1."""
    correction = StepCorrection()
    for _ in range(40):
        correction.observe(0.01, 0.01)
    for _ in range(3):
        correction.observe(1.0, 2.0)
    assert correction.factor == pytest.approx(2.0)


@settings(deadline=None)
@given(st.lists(st.tuples(DURATIONS, DURATIONS)))
def test_it_is_always_a_number_within_its_range(pairs: list[tuple[float, float]]) -> None:
    correction = StepCorrection(window=8, min_observations=2)
    for predicted_s, observed_s in pairs:
        correction.observe(predicted_s, observed_s)
        assert LOWEST_FACTOR <= correction.factor <= HIGHEST_FACTOR


@pytest.mark.parametrize("ratio", [1e-9, 1e9])
def test_beyond_its_range_it_stays_at_the_end(ratio: float) -> None:
    correction = StepCorrection(min_observations=1)
    correction.observe(1.0, ratio)
    assert correction.factor in {LOWEST_FACTOR, HIGHEST_FACTOR}


@pytest.mark.parametrize("nothing", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_duration_is_ignored(nothing: float) -> None:
    correction = StepCorrection(min_observations=2)
    correction.observe(0.1, 0.2)
    for _ in range(10):
        correction.observe(nothing, 1.0)
        correction.observe(1.0, nothing)
    assert correction.factor == 1.0
    correction.observe(0.1, 0.2)
    assert correction.factor == pytest.approx(2.0)


def test_only_the_window_counts() -> None:
    correction = StepCorrection(window=10, min_observations=1)
    for ratio in [5.0] * 50 + [2.0] * 10:
        correction.observe(0.1, 0.1 * ratio)
    assert correction.factor == pytest.approx(2.0)

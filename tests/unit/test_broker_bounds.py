"""What a client is told that would have the pool hold more, and when to come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preble.broker.bounds import LONGEST_RETRY_AFTER_S, UNMEASURED_S, Bounds, DrainRate

BOUNDS = Bounds(max_jobs=1_000, max_prompt_bytes=10, max_ingresses=5)


def test_it_comes_back_when_a_twentieth_of_the_bound_is_free_again() -> None:
    """50 jobs, 10 a second."""
    assert BOUNDS.refusal("jobs", ended_per_s=10).retry_after_s == pytest.approx(5)


@pytest.mark.parametrize(
    ("ended_per_s", "retry_after_s"),
    [(None, UNMEASURED_S), (1e6, UNMEASURED_S), (0.0, LONGEST_RETRY_AFTER_S)],
)
def test_neither_at_once_nor_never(ended_per_s: float | None, retry_after_s: float) -> None:
    assert BOUNDS.refusal("jobs", ended_per_s=ended_per_s).retry_after_s == retry_after_s


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    """10 a second for a minute, then 2."""
    drain = DrainRate()
    rates = [drain.observe(10 * second, now_s=second) for second in range(60)]
    assert rates[0] is None
    assert rates[1:] == pytest.approx([10.0] * 59)
    later = [drain.observe(590 + 2 * (second - 59), now_s=second) for second in range(60, 120)]
    assert later[-1] == pytest.approx(2.0)


def test_a_rate_needs_a_second() -> None:
    drain = DrainRate()
    assert [drain.observe(number, now_s=number / 10) for number in range(10)] == [None] * 10
    assert drain.observe(20, now_s=2.0) == pytest.approx(10.0)


def test_a_lull_in_which_nobody_was_refused_counts_no_more() -> None:
    drain = DrainRate()
    drain.observe(0, now_s=0)
    assert drain.observe(9, now_s=100) is None


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), max_size=200))
def test_it_remembers_half_a_minute_and_no_more(told: list[tuple[float, int]]) -> None:
    drain, now_s, ended = DrainRate(), 0.0, 0
    for after_s, more in told:
        now_s, ended = now_s + after_s, ended + more
        rate = drain.observe(ended, now_s=now_s)
        assert rate is None or rate >= 0
        assert len(drain) <= 32

"""The window H: what counts, and when it stops counting."""

import pytest

from preble.history import DEFAULT_OUTPUT_TOKENS, History


def test_load_is_prefill_plus_decode_of_the_average_output() -> None:
    """L = (1 + 2) + (0.1 + 0.2) · mean(10, 30) = 3 + 0.3 · 20 = 9."""
    history = History(180)
    history.place(1.0, 0.1, now_s=0)
    history.place(2.0, 0.2, now_s=1)
    history.observe_output(10, now_s=2)
    history.observe_output(30, now_s=3)
    assert history.load_s(now_s=4) == pytest.approx(9.0)


def test_before_any_output_the_papers_default_stands_in() -> None:
    assert History(180).average_output_tokens(now_s=0) == DEFAULT_OUTPUT_TOKENS


def test_requests_and_outputs_leave_the_window() -> None:
    history = History(180)
    history.place(1.0, 0.1, now_s=0)
    history.observe_output(10, now_s=0)
    history.place(2.0, 0.0, now_s=100)
    assert history.load_s(now_s=179.9) == pytest.approx(1.0 + 2.0 + 0.1 * 10)
    assert history.load_s(now_s=180) == pytest.approx(2.0)
    assert history.average_output_tokens(now_s=180) == DEFAULT_OUTPUT_TOKENS


def test_no_rounding_error_outlives_a_lull() -> None:
    history = History(1)
    for step in range(1_000):
        history.place(0.1, 0.7, now_s=step / 1_000)
    assert history.load_s(now_s=10) == 0.0

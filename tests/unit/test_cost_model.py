"""Seconds from coefficients: worked by hand from the published equations."""

import pytest

from preble.cost_model import StepRequest, load_cost_model
from preble.errors import ConfigError

MODEL = load_cost_model("mistral_7b_a6000")


def test_prefill_of_a_thousand_tokens() -> None:
    """(0.10842571·1000 + 4.209777 + 0.32) / 0.9 = 125.506 ms."""
    assert MODEL.prefill_s(1_000, 1_000) == pytest.approx(0.125506, abs=1e-6)


def test_a_hit_of_the_whole_prompt_costs_nothing() -> None:
    assert MODEL.prefill_s(0, 1_000) == 0.0


def test_decode_is_one_small_step_a_token() -> None:
    """16 · (22 + 0.32) / 0.9 = 396.8 ms."""
    assert MODEL.decode_s(16, 1_000) == pytest.approx(0.3968)


def test_long_prompts_pay_the_quadratic_term() -> None:
    """2,000 of 2,000: linear 221.061, attention 0.186·2 + 0.159 (n = 1: not halved),
    extra 1.13e-3·2000 + 1.75e-3·2000 + 2.19e-6·2000² = 14.52; / 0.9."""  # fmt: skip
    expected_ms = (0.10842571 * 2_000 + 4.209777 + 1.86e-4 * 2_000 + 0.159 + 14.52) / 0.9
    assert MODEL.prefill_s(2_000, 2_000) == pytest.approx(expected_ms / 1_000, rel=1e-6)


def test_a_mixed_step_shares_its_linear_part() -> None:
    together = MODEL.step_s([StepRequest(1, 500), StepRequest(512, 512)])
    apart = MODEL.step_s([StepRequest(1, 500)]) + MODEL.step_s([StepRequest(512, 512)])
    assert MODEL.prefill_s(512, 512) < together < apart


@pytest.mark.parametrize("tokens", range(1, 1_200, 7))
def test_more_tokens_never_cost_less(tokens: int) -> None:
    assert MODEL.prefill_s(tokens + 7, 2_000) >= MODEL.prefill_s(tokens, 2_000) > 0


def test_an_empty_step_takes_no_time() -> None:
    assert MODEL.step_s([]) == 0.0


def test_an_unknown_model_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="mistral_7b_a6000"):
        load_cost_model("abacus")

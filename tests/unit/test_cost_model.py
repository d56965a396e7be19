"""Seconds from coefficients: worked by hand from the published equations."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preble.cost_model import CostModel, StepRequest, known_cost_models, load_cost_model

MODEL = load_cost_model("mistral_7b_a6000")
COUNTS = st.integers(1, 256)

for_every_model = pytest.mark.parametrize(
    "model", [load_cost_model(name) for name in known_cost_models()], ids=known_cost_models()
)


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
    assert MODEL.long_request_ms(2_000, 2_000) == pytest.approx(14.52)
    assert MODEL.long_request_ms(1_024, 1_024) == 0.0


def test_small_contexts_of_several_requests_are_read_at_half_price() -> None:
    """8 · 1,000 of context: (22 + (1.86e-4·8000 + 0.159)/2) / 0.9; 8 · 1,100: not halved."""
    assert MODEL.totals_s(8, 8_000, 8) == pytest.approx((22 + 1.647 / 2) / 900)
    assert MODEL.totals_s(8, 8_800, 8) == pytest.approx((22 + 1.7958) / 900)


def test_half_price_never_undercuts_short_contexts() -> None:
    """Just above 1,024 tokens, half of 0.35 ms would be less than the 0.32 ms below."""
    assert MODEL.totals_s(2, 1_030, 2) == MODEL.totals_s(2, 1_020, 2)


def test_a_mixed_step_shares_its_linear_part() -> None:
    together = MODEL.step_s([StepRequest(1, 500), StepRequest(512, 512)])
    apart = MODEL.step_s([StepRequest(1, 500)]) + MODEL.step_s([StepRequest(512, 512)])
    assert MODEL.prefill_s(512, 512) < together < apart


def test_an_empty_step_takes_no_time() -> None:
    assert MODEL.step_s([]) == 0.0
    assert MODEL.totals_s(0, 0, 0) == 0.0


def test_a_step_is_the_totals_of_its_requests() -> None:
    requests = [StepRequest(1, 4_000), StepRequest(300, 300), StepRequest(1_500, 6_000)]
    long_ms = MODEL.long_request_ms(1_500, 6_000)
    assert long_ms > 0
    assert MODEL.step_s(requests) == MODEL.totals_s(1_801, 10_300, 3, long_ms)


@for_every_model
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_more_tokens_never_cost_less(model: CostModel, data: st.DataObject) -> None:
    context = data.draw(st.integers(1, 100_000), "context")
    new = data.draw(st.integers(1, min(context, 16_384)), "new")
    more_new = data.draw(st.integers(new, min(context, 16_384)), "more new")
    more_context = data.draw(st.integers(context, 100_001), "more context")
    assert model.prefill_s(more_new, more_context) >= model.prefill_s(new, context) > 0


@for_every_model
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_steps_of_as_many_requests_cost_more_with_more_tokens(
    model: CostModel, data: st.DataObject
) -> None:
    requests = data.draw(COUNTS, "requests")
    new = data.draw(st.integers(requests, 8_192), "new")
    context = data.draw(st.integers(new, 2_000_000), "context")
    more_new = data.draw(st.integers(new, 8_192), "more new")
    more_context = data.draw(st.integers(context, 2_000_001), "more context")
    more_s = model.totals_s(more_new, more_context, requests)
    assert more_s >= model.totals_s(new, context, requests) > 0


@for_every_model
def test_each_new_token_where_lines_meet_costs_no_less(model: CostModel) -> None:
    seconds = [model.prefill_s(tokens, 1_300) for tokens in range(1, 1_300)]
    assert seconds == sorted(seconds)


def naive_run_s(model: CostModel, contexts: list[int], num_steps: int) -> float:
    return math.fsum(
        model.step_s([StepRequest(1, context + step) for context in contexts])
        for step in range(num_steps)
    )


@for_every_model
@settings(max_examples=60, deadline=None)
@given(
    contexts=st.lists(st.integers(1, 3_000), min_size=1, max_size=24),
    num_steps=st.integers(0, 200),
)
def test_a_decode_run_is_the_sum_of_its_steps(
    model: CostModel, contexts: list[int], num_steps: int
) -> None:
    run_s = model.decode_run_s(len(contexts), sum(contexts), num_steps)
    assert run_s == pytest.approx(naive_run_s(model, contexts, num_steps), rel=1e-9)


@pytest.mark.parametrize("contexts", [[1_000], [900] * 4, [500, 600], [1_023] * 24])
def test_a_decode_run_is_the_sum_of_its_steps_across_every_bend(contexts: list[int]) -> None:
    """Of attention: short, short again while halved, halved, and whole."""
    run_s = MODEL.decode_run_s(len(contexts), sum(contexts), 1_500)
    assert run_s == pytest.approx(naive_run_s(MODEL, contexts, 1_500), rel=1e-9)


@for_every_model
@settings(max_examples=60, deadline=None)
@given(
    requests=COUNTS,
    context=st.integers(256, 400_000),
    seconds=st.floats(0, 120),
)
def test_as_many_decode_steps_end_within_some_seconds_as_a_run_of_them_takes(
    model: CostModel, requests: int, context: int, seconds: float
) -> None:
    steps = model.decode_steps_within(requests, context, seconds)
    assert model.decode_run_s(requests, context, steps) <= seconds
    assert model.decode_run_s(requests, context, steps + 1) > seconds


@settings(deadline=None)
@given(requests=COUNTS, context=st.integers(256, 400_000), steps=st.integers(0, 3_000))
def test_a_run_that_has_just_ended_is_counted_whole(
    requests: int, context: int, steps: int
) -> None:
    run_s = MODEL.decode_run_s(requests, context, steps)
    assert MODEL.decode_steps_within(requests, context, run_s) == steps


def test_nobody_decodes_no_steps() -> None:
    assert MODEL.decode_run_s(0, 0, 10) == 0.0
    assert MODEL.decode_steps_within(0, 0, 10.0) == 0

"""Fits: known models come back, outliers bend nothing, bad lines and too few steps are refused."""

import random
import statistics

import msgspec
import numpy as np
import pytest

from preble.config import Settings
from preble.cost_model import CostModel, load_coefficients, load_cost_model
from preble.cost_model.coefficients import LongRequest
from preble.cost_model.fit import fit, predicted_s, relative_error
from preble.cost_model.least_squares import solve
from preble.cost_model.probes import (
    DECODE_TOKENS,
    DecodeProbe,
    decode_sample,
    plan_decodes,
    plan_prefills,
    prefill_sample,
)
from preble.cost_model.samples import StepSample, format_samples, parse_samples
from preble.errors import ConfigError

SETTINGS = Settings(engine="emulated", slots=32)


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - noise, not secrets


def probed(model: CostModel, *, repeats: int = 1) -> list[StepSample]:
    """The steps that probes would time, without any noise."""
    points = [
        (probe.new_tokens, probe.base_tokens + probe.new_tokens, 1)
        for probe in plan_prefills(SETTINGS)
    ] + [
        (probe.num_requests, probe.num_requests * probe.prompt_tokens, probe.num_requests)
        for probe in plan_decodes(SETTINGS)
    ]
    steps = [StepSample(*point, 1.0) for point in points * repeats]
    return [StepSample(*step.point, predicted_s(model, step)) for step in steps]


def errors(fitted: CostModel, samples: list[StepSample]) -> list[float]:
    return sorted(relative_error(fitted, sample) for sample in samples)


@pytest.mark.parametrize("name", ["llama2_7b_a6000_vllm", "llama3_70b_h100_tp2", "llama3_8b_h100"])
def test_models_without_oddities_come_back_exactly(name: str) -> None:
    samples = probed(load_cost_model(name))
    fitted = fit(samples, name="again")
    assert errors(CostModel(fitted.coefficients), samples)[-1] < 0.02
    assert fitted.coefficients.name == "again"


@pytest.mark.parametrize("name", ["mistral_7b_a6000", "mistral_7b_a100"])
def test_models_with_halves_and_jumps_come_back_within_a_few_percent(name: str) -> None:
    """Most of the rest is attention at half price, which a fit does not know."""
    samples = probed(load_cost_model(name))
    found = errors(CostModel(fit(samples, name="x").coefficients), samples)
    assert statistics.median(found) < 0.01
    assert found[int(0.9 * len(found))] < 0.04


def test_an_engine_that_attends_to_all_context_anew_is_recognised() -> None:
    """SGLang's torch_native attention does: what is cached saves its linear layers alone."""
    coefficients = load_coefficients("llama3_8b_h100")
    anew = LongRequest(per_context_squared_ms=5e-4)
    true = CostModel(msgspec.structs.replace(coefficients, long_request=anew))
    samples = probed(true)
    fitted = fit(samples, name="x").coefficients
    assert errors(CostModel(fitted), samples)[-1] < 0.02
    assert fitted.long_request.per_context_squared_ms == pytest.approx(5e-4, rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_stalled_steps_bend_little(seed: int) -> None:
    """5 % of noise on each, and one step in ten takes five times as long."""
    rng = seeded(seed)
    true = load_cost_model("mistral_7b_a6000")
    samples = [
        StepSample(
            *sample.point,
            sample.step_s * max(0.1, rng.gauss(1, 0.05)) * (5 if rng.random() < 0.1 else 1),
        )
        for sample in probed(true, repeats=3)
    ]
    fitted = CostModel(fit(samples, name="x").coefficients)
    found = errors(fitted, probed(true))
    assert statistics.median(found) < 0.03
    assert found[int(0.9 * len(found))] < 0.08


def test_errors_are_of_steps_that_the_fit_has_not_seen() -> None:
    """Each point is off by up to a half: knowing it would help, foretelling it is impossible."""
    rng = seeded(1)
    true = load_cost_model("llama3_70b_a100_tp2")
    samples = [
        StepSample(*each.point, each.step_s * rng.uniform(0.5, 1.5)) for each in probed(true)
    ]
    fitted = fit(samples, name="x")
    assert 0.15 < fitted.median_error < 0.5
    assert fitted.median_error < fitted.p90_error


def test_nonsense_still_gives_a_sound_model() -> None:
    rng = seeded(1)
    samples = [
        StepSample(*each.point, rng.uniform(0.001, 1))
        for each in probed(load_cost_model("mistral_7b_a6000"))
    ]
    model = CostModel(fit(samples, name="x").coefficients)
    seconds = [model.prefill_s(tokens, 9_000) for tokens in range(1, 9_000, 13)]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_too_few_steps_are_refused() -> None:
    samples = [StepSample(tokens, tokens, 1, 0.1) for tokens in (1, 2, 3, 4, 5)] * 10
    with pytest.raises(ConfigError, match="5 different steps are too few"):
        fit(samples, name="x")


def test_least_squares_without_negative_coefficients() -> None:
    """The free minimum has x1 = -1; at the bound, x0 is the mean of what it explains."""
    rows = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    assert solve(rows, np.array([4.0, 3.0, 2.0])) == pytest.approx(np.array([3.0, 0.0]))
    assert solve(rows, np.array([1.0, 3.0, 5.0])) == pytest.approx(np.array([1.0, 2.0]))


# Samples.


def test_samples_survive_their_file() -> None:
    samples = [StepSample(5, 9, 2, 0.25), StepSample(1, 1, 1, 0.001)]
    assert parse_samples(format_samples(samples) + b"\n\n", origin="x") == samples


GOOD = b'{"new_tokens": 8, "context_tokens": 8, "num_requests": 1, "step_s": 0.1}'


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"nonsense", "malformed"),
        (GOOD.replace(b"0.1", b"0"), "`float` > 0.0"),
        (GOOD.replace(b"0.1", b'"0.1"'), "got `str`"),
        (GOOD.replace(b'"new_tokens": 8', b'"new_tokens": 9'), "must not exceed"),
        (GOOD.replace(b'"num_requests": 1', b'"num_requests": 9'), "must not exceed"),
        (GOOD.replace(b'"num_requests": 1, ', b""), "missing required field `num_requests`"),
        (GOOD.replace(b"step_s", b"step_ms"), "missing|unknown field"),
    ],
)
def test_a_bad_line_is_refused_with_its_number_and_the_reason(bad: bytes, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.jsonl, line 3: .*({reason})"):
        parse_samples(GOOD + b"\n\n" + bad + b"\n" + GOOD, origin="mine.jsonl")


# Probes.


def test_probes_fit_the_engine() -> None:
    prefills, decodes = plan_prefills(SETTINGS), plan_decodes(SETTINGS)
    assert max(probe.new_tokens for probe in prefills) == SETTINGS.chunk_tokens
    assert len({probe.base_tokens for probe in prefills}) == 3
    for prefill in prefills:
        assert prefill.base_tokens % SETTINGS.block_size == 0
        assert prefill.base_tokens + prefill.new_tokens < SETTINGS.context_length
    assert {probe.num_requests for probe in decodes} == {1, 2, 4, 8, 16, 32}
    for decode in decodes:
        total_tokens = decode.prompt_tokens + DECODE_TOKENS
        assert total_tokens <= SETTINGS.context_length
        assert decode.num_requests * total_tokens <= SETTINGS.kv_capacity_tokens


@pytest.mark.parametrize("capacity", [0, 2_048, 4_096])
def test_probes_fit_a_small_or_unknown_cache(capacity: int) -> None:
    settings = Settings(engine="sglang", context_length=4_096, kv_capacity_tokens=capacity)
    room_tokens = capacity or 4 * settings.context_length
    for prefill in plan_prefills(settings):
        assert prefill.base_tokens + prefill.new_tokens <= room_tokens
    for decode in plan_decodes(settings):
        assert decode.num_requests * (decode.prompt_tokens + DECODE_TOKENS) <= room_tokens


def test_what_is_cached_counts_as_context_and_not_as_new() -> None:
    assert prefill_sample(
        SETTINGS, prompt_tokens=1_100, cached_tokens=1_024, ttft_s=0.03
    ) == StepSample(76, 1_100, 1, 0.03)


@pytest.mark.parametrize(
    ("prompt_tokens", "cached_tokens", "ttft_s"), [(3_000, 900, 0.3), (64, 64, 0.1), (64, 0, 0.0)]
)
def test_what_was_not_one_step_is_no_sample(
    prompt_tokens: int, cached_tokens: int, ttft_s: float
) -> None:
    assert (
        prefill_sample(
            SETTINGS, prompt_tokens=prompt_tokens, cached_tokens=cached_tokens, ttft_s=ttft_s
        )
        is None
    )


def test_a_decode_probe_is_its_mean_step() -> None:
    """4 requests of 1,024, at the middle of 24 output tokens."""
    probe = DecodeProbe(4, 1_024)
    sample = decode_sample(SETTINGS, probe, cached_tokens=1_008, token_s=0.025)
    assert sample == StepSample(4, 4 * 1_036, 4, 0.025)


def test_a_decode_beside_a_prefill_is_no_sample() -> None:
    assert decode_sample(SETTINGS, DecodeProbe(4, 1_024), cached_tokens=0, token_s=0.1) is None

"""The shipped files against what was published, and what is refused of others."""

from pathlib import Path

import msgspec
import pytest

from preble.cost_model import (
    Coefficients,
    CostModel,
    known_cost_models,
    load_coefficients,
    load_cost_model,
)
from preble.cost_model.files import format_coefficients, parse_coefficients
from preble.errors import ConfigError

CORRECTED = {"mistral_7b_a6000", "mistral_7b_a100", "llama3_70b_a100_tp2",
             "llama3_70b_h100_tp2", "llama2_7b_a6000_vllm"}  # fmt: skip


def test_every_published_model_ships_with_a_line_on_each_correction() -> None:
    assert set(known_cost_models()) >= CORRECTED | {"llama3_8b_h100", "smollm2_135m_cpu"}
    for name in known_cost_models():
        coefficients = load_coefficients(name)
        assert coefficients.name == load_cost_model(name).name == name
        assert len(coefficients.source) > 40
        assert bool(coefficients.corrections) == (name in CORRECTED)


@pytest.mark.parametrize("tokens", [2_500, 4_000, 8_192])
def test_a_long_prompt_on_an_a100_costs_what_was_published(tokens: int) -> None:
    linear_ms = 0.05031337 * tokens + 5.505996896412796
    attention_ms = (
        0.12386358316396695
        + (1.72022673e-3 - 7.45358651e-4) * tokens
        + 1.36265841e-6 * tokens * tokens
    )
    published_s = (linear_ms + attention_ms) / 0.85 / 1000
    assert load_cost_model("mistral_7b_a100").prefill_s(tokens, tokens) == pytest.approx(
        published_s, rel=1e-6
    )


def test_a_short_request_on_an_a100_pays_for_its_attention_in_milliseconds() -> None:
    """(8.96 + 0.32) / 0.85 ms: a thousandth of 0.32 would vanish."""
    assert load_cost_model("mistral_7b_a100").decode_s(1, 500) == pytest.approx(9.28 / 850)


@pytest.mark.parametrize(
    ("name", "constant", "new", "context", "product"),
    [
        ("llama3_70b_a100_tp2", 28.931389307785594, 0.182233431, 4.00365142e-3, 2.55050069e-6),
        ("llama3_70b_h100_tp2", 18.667307208113755, 7.98791064e-2, 2.68531603e-3, 7.44344923e-7),
    ],
)
def test_one_prefill_of_llama3_70b_costs_what_was_published_and_two_share_the_constant(
    name: str, constant: float, new: float, context: float, product: float
) -> None:
    model = load_cost_model(name)
    own_ms = new * 500 + context * 2_000 + product * 500 * 2_000
    assert model.prefill_s(500, 2_000) == pytest.approx((constant + own_ms) / 1000)
    long_ms = 2 * model.long_request_ms(500, 2_000)
    assert model.totals_s(1_000, 4_000, 2, long_ms) == pytest.approx((constant + 2 * own_ms) / 1000)


def test_the_h100_is_quicker_than_the_a100_whose_figures_upstream_gave_it() -> None:
    h100, a100 = (load_cost_model(f"llama3_70b_{gpu}_tp2") for gpu in ("h100", "a100"))
    assert h100.prefill_s(4_000, 4_000) < 0.6 * a100.prefill_s(4_000, 4_000)


@pytest.mark.parametrize(
    ("tokens", "linear_ms"),
    [(64, 26.06523603), (128, 26.992), (390, 56.86), (400, 58.07), (2_000, 267.67)],
)
def test_vllm_costs_what_was_published_and_rises_where_its_lines_cross(
    tokens: int, linear_ms: float
) -> None:
    expected_ms = linear_ms + 1.663659159 * tokens / 2_048
    assert load_cost_model("llama2_7b_a6000_vllm").prefill_s(tokens, tokens) == pytest.approx(
        expected_ms / 1000, rel=1e-6
    )


@pytest.mark.parametrize("name", ["llama3_70b_a100_tp2", "llama3_70b_h100_tp2"])
def test_files_with_figures_that_beat_their_hardware_say_so(name: str) -> None:
    assert any("beat the data sheets" in line for line in load_coefficients(name).corrections)


# Files of one's own.


@pytest.fixture
def fields() -> dict[str, object]:
    built: dict[str, object] = msgspec.to_builtins(load_coefficients("mistral_7b_a6000"))
    return built


def test_a_file_is_found_by_its_path(tmp_path: Path, fields: dict[str, object]) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes(msgspec.json.encode(fields | {"name": "mine"}))
    model = load_cost_model(str(file))
    assert model.name == "mine"
    assert model.prefill_s(700, 900) == load_cost_model("mistral_7b_a6000").prefill_s(700, 900)


def test_what_is_written_is_read_again() -> None:
    coefficients = load_coefficients("mistral_7b_a100")
    assert parse_coefficients(format_coefficients(coefficients), origin="x") == coefficients


def test_an_unknown_model_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no cost model 'abacus'.*mistral_7b_a6000.*\.json"):
        load_cost_model("abacus")


def test_a_name_does_not_lead_out_of_the_shipped_folder() -> None:
    with pytest.raises(ConfigError, match="no cost model"):
        load_cost_model("../cost_models/mistral_7b_a6000")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.json: No such file"):
        load_cost_model(str(tmp_path / "absent.json"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"name": "x"}', "missing required field"),
    ],
)
def test_a_file_that_holds_no_cost_model_is_refused(
    tmp_path: Path, text: bytes, reason: str
) -> None:
    file = tmp_path / "bad.json"
    file.write_bytes(text)
    with pytest.raises(ConfigError, match=rf"cost model .*bad\.json: .*{reason}"):
        load_cost_model(str(file))


def piece(min_tokens: int, constant_ms: float, per_token_ms: float) -> dict[str, object]:
    return {"min_tokens": min_tokens, "constant_ms": constant_ms, "per_token_ms": per_token_ms}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"linear": []}, "length >= 1"),
        ({"linear": [piece(1, 5, 0)]}, "begin at 0 tokens"),
        ({"linear": [piece(0, 0, 0)]}, "must cost something"),
        ({"linear": [piece(0, -1, 3)]}, "must cost something"),
        ({"linear": [piece(0, 5, -0.1)]}, "`float` >= 0.0"),
        ({"linear": [piece(0, 5, 0), piece(64, 6, 0), piece(64, 7, 0)]}, "ever more tokens"),
        ({"linear": [piece(0, 26, 0), piece(128, 20, 0)]}, "128 tokens must not cost less"),
        ({"efficiency": 0}, "`float` > 0.0"),
        ({"long_request": {"per_new_token_ms": -1}}, "cheaper by another new token"),
        (
            {"long_request": {"per_product_ms": 1, "per_new_squared_ms": -0.6}},
            "cheaper by another new token",
        ),
        ({"long_request": {"constant_ms": -1}}, "less than nothing"),
        ({"attention": {"short_ms": 1}}, "missing required field"),
        ({"speed": 1}, "unknown field"),
    ],
)
def test_what_would_make_tokens_cheaper_or_negative_is_refused(
    fields: dict[str, object], changes: dict[str, object], reason: str
) -> None:
    text = msgspec.json.encode(fields | changes)
    with pytest.raises(ConfigError, match=f"cost model mine: .*{reason}"):
        parse_coefficients(text, origin="mine")


def test_falls_by_rounding_are_none() -> None:
    sound = load_coefficients("mistral_7b_a6000")
    first, second = sound.linear[:2]
    rounded = msgspec.structs.replace(second, constant_ms=second.constant_ms - 1e-7)
    coefficients: Coefficients = msgspec.structs.replace(sound, linear=(first, rounded))
    assert CostModel(coefficients).prefill_s(192, 192) > 0

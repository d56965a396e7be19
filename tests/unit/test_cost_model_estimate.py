"""Estimates from sizes: the arithmetic, how near fitted models they come, what is refused."""

import msgspec
import pytest

from preble.cost_model import CostModel, load_coefficients, load_cost_model
from preble.cost_model.estimate import Hardware, estimate, kv_capacity_tokens
from preble.cost_model.gpus import KNOWN_GPUS
from preble.cost_model.model_config import ModelConfig, parse_model_config
from preble.errors import ConfigError

MISTRAL_7B = ModelConfig(
    hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
    num_key_value_heads=8, vocab_size=32_000, torch_dtype="bfloat16",
)  # fmt: skip
LLAMA3_8B = msgspec.structs.replace(MISTRAL_7B, vocab_size=128_256)
LLAMA3_70B = msgspec.structs.replace(
    LLAMA3_8B, hidden_size=8192, intermediate_size=28_672, num_hidden_layers=80,
    num_attention_heads=64,
)  # fmt: skip


def on(gpu: str, num_gpus: int = 1) -> Hardware:
    return Hardware(KNOWN_GPUS[gpu], num_gpus)


def test_sizes_are_those_the_makers_state() -> None:
    assert MISTRAL_7B.all_weights == pytest.approx(7.24e9, rel=0.002)
    assert LLAMA3_8B.all_weights == pytest.approx(8.03e9, rel=0.002)
    assert LLAMA3_70B.all_weights == pytest.approx(70.6e9, rel=0.002)
    assert MISTRAL_7B.kv_bytes_per_token == 131_072
    assert LLAMA3_70B.kv_bytes_per_token == 327_680


def test_capacity_is_near_what_sglang_had_on_an_a6000() -> None:
    """198,516 tokens were published for a share of 0.8."""
    tokens = kv_capacity_tokens(MISTRAL_7B, on("a6000"), memory_share=0.8)
    assert tokens == pytest.approx(198_516, rel=0.03)


@pytest.mark.parametrize(("gpu", "least", "most"), [("a6000", 0.97, 1.06), ("a100", 0.94, 1.02)])
def test_prefills_are_near_the_fitted_models(gpu: str, least: float, most: float) -> None:
    estimated = CostModel(estimate(MISTRAL_7B, on(gpu), name="estimated"))
    fitted = load_cost_model(f"mistral_7b_{gpu}")
    for tokens in range(1_000, 8_193, 64):
        ratio = estimated.prefill_s(tokens, tokens) / fitted.prefill_s(tokens, tokens)
        assert least <= ratio <= most


@pytest.mark.parametrize(("gpu", "least", "most"), [("a6000", 0.99, 1.16), ("a100", 0.85, 1.02)])
def test_decodes_are_near_the_fitted_models(gpu: str, least: float, most: float) -> None:
    estimated = CostModel(estimate(MISTRAL_7B, on(gpu), name="estimated"))
    fitted = load_cost_model(f"mistral_7b_{gpu}")
    for requests in range(1, 33):
        for context in (256, 1_000, 2_000, 4_000):
            totals = (requests, requests * context, requests)
            assert least <= estimated.totals_s(*totals) / fitted.totals_s(*totals) <= most


def test_a_prompt_in_chunks_meets_as_many_pairs_as_at_once() -> None:
    model = CostModel(estimate(LLAMA3_8B, on("h100"), name="x"))
    whole_ms = model.long_request_ms(8_192, 8_192)
    chunks_ms = [model.long_request_ms(2_048, 2_048 * number) for number in range(1, 5)]
    assert sum(chunks_ms) == pytest.approx(whole_ms)


def test_two_gpus_take_half_the_time() -> None:
    """Nothing is counted for what they tell each other."""
    one, two = (CostModel(estimate(LLAMA3_8B, on("h200", n), name="x")) for n in (1, 2))
    assert two.prefill_s(4_096, 4_096) == pytest.approx(one.prefill_s(4_096, 4_096) / 2, rel=1e-4)


def test_heads_that_are_fewer_than_gpus_are_copied() -> None:
    four, sixteen = (kv_capacity_tokens(LLAMA3_8B, on("h200", n)) for n in (4, 16))
    assert sixteen == pytest.approx(4 * four / 2, rel=0.05)


def test_the_shipped_estimate_is_what_the_sizes_give() -> None:
    made = estimate(LLAMA3_8B, on("h100"), name="llama3_8b_h100")
    assert load_coefficients("llama3_8b_h100") == made


@pytest.mark.parametrize("gpu", KNOWN_GPUS)
def test_known_gpus_give_sound_models(gpu: str) -> None:
    small = msgspec.structs.replace(LLAMA3_8B, num_hidden_layers=16)
    model = CostModel(estimate(small, on(gpu), name="x"))
    assert 0 < model.decode_s(1, 1_000) < model.prefill_s(4_096, 4_096)


def test_a_model_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"131 GiB of weights do not fit 1 x NVIDIA H100.*--tp"):
        estimate(LLAMA3_70B, on("h100"), name="x")


def config(**changes: object) -> bytes:
    fields = msgspec.to_builtins(LLAMA3_8B) | {"architectures": ["LlamaForCausalLM"]} | changes
    return msgspec.json.encode(fields)


def test_a_config_is_read_as_the_hub_has_it() -> None:
    assert parse_model_config(config(), origin="config.json") == LLAMA3_8B


def test_a_newer_config_names_its_type_otherwise() -> None:
    read = parse_model_config(config(torch_dtype=None, dtype="float16"), origin="x")
    assert read.weight_bytes == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_local_experts": 8}, "num_local_experts makes it a mixture of experts"),
        ({"n_routed_experts": 64}, "mixture of experts"),
        ({"quantization_config": {"bits": 4}}, "quantized"),
        ({"torch_dtype": "float8_e4m3fn"}, "type float8_e4m3fn are not estimated"),
        ({"hidden_size": 0}, "`int` >= 1"),
        ({"vocab_size": "many"}, r"Expected `int`, got `str` - at `\$.vocab_size`"),
    ],
)
def test_other_models_are_refused_with_the_reason(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=f"model config mine: .*{reason}"):
        parse_model_config(config(**changes), origin="mine")


def test_a_config_without_sizes_is_refused() -> None:
    with pytest.raises(ConfigError, match="missing required field `hidden_size`"):
        parse_model_config(b'{"architectures": []}', origin="mine")

"""Coefficients for hardware that nobody has measured: a roofline from data sheets.

A step takes as long as reading all weights once, or as computing its new tokens, whichever
takes longer; attention reads the keys and values of its context, and a prefill multiplies each
new token with all before it. Not counted: launching kernels, sampling, the reduction between
GPUs. How far that is from fitted models stands in ADR 0011.
"""

from typing import Final

import msgspec

from preble.cost_model.coefficients import Attention, Coefficients, LongRequest, Piece
from preble.cost_model.gpus import Gpu
from preble.cost_model.model_config import ModelConfig
from preble.errors import ConfigError

_GIB: Final = 1024**3
COMPUTE_SHARE: Final = 0.7
"""Of the peak: the fitted prefills of Mistral-7B reach 0.78 on A6000 and A100, a model that is
split or a newer GPU less."""
BANDWIDTH_SHARE: Final = 0.75
"""Of the data sheet's: the fitted decodes of Mistral-7B reach 0.77 (A6000) and 0.67 (A100)."""
MEMORY_SHARE: Final = 0.85
"""Of the memory, for weights and KV cache: engines take 0.8 to 0.88, for activations need room."""


class Hardware(msgspec.Struct, frozen=True):
    """GPUs that share one model by tensor parallelism, and how much of them is reached."""

    gpu: Gpu
    num_gpus: int = 1
    compute_share: float = COMPUTE_SHARE
    bandwidth_share: float = BANDWIDTH_SHARE

    def compute_ms(self, operations: float) -> float:
        """Milliseconds for so many floating-point operations."""
        per_s = self.gpu.peak_tflops * 1e12 * self.compute_share * self.num_gpus
        return operations / per_s * 1000

    def read_ms(self, num_bytes: float) -> float:
        """Milliseconds to read so many bytes, spread evenly over the GPUs."""
        per_s = self.gpu.memory_gb_per_s * 1e9 * self.bandwidth_share * self.num_gpus
        return num_bytes / per_s * 1000


def estimate(model: ModelConfig, hardware: Hardware, *, name: str) -> Coefficients:
    """Coefficients of a model on hardware, from their sizes alone.

    Raises:
        ConfigError: If the weights leave no room for a KV cache.
    """
    capacity_tokens = kv_capacity_tokens(model, hardware)
    read_ms = hardware.read_ms((model.layer_weights + model.head_weights) * model.weight_bytes)
    token_ms = hardware.compute_ms(2 * model.layer_weights)
    return Coefficients(
        name=name,
        source=_source(model, hardware, capacity_tokens),
        linear=(
            Piece(0, _rounded(read_ms), 0.0),
            Piece(int(read_ms / token_ms) + 1, 0.0, _rounded(token_ms)),
        ),
        attention=Attention(
            0, 0.0, 0.0, _rounded(hardware.read_ms(_kv_bytes_read(model, hardware)))
        ),
        long_request=_attention_of_prefill(model, hardware),
        efficiency=1.0,
    )


def kv_capacity_tokens(
    model: ModelConfig, hardware: Hardware, *, memory_share: float = MEMORY_SHARE
) -> int:
    """Tokens that fit beside the weights.

    Raises:
        ConfigError: If none does.
    """
    memory_bytes = hardware.gpu.memory_gib * _GIB * memory_share * hardware.num_gpus
    weights_bytes = model.all_weights * model.weight_bytes
    tokens = int((memory_bytes - weights_bytes) / _kv_bytes_read(model, hardware))
    if tokens <= 0:
        need_gib, have_gib = weights_bytes / _GIB, memory_bytes / _GIB
        msg = f"{need_gib:.0f} GiB of weights do not fit {hardware.num_gpus} x {hardware.gpu.title}"
        raise ConfigError(f"{msg}, of which {have_gib:.0f} GiB can be used: raise --tp")
    return tokens


def _kv_bytes_read(model: ModelConfig, hardware: Hardware) -> float:
    """Bytes of a token's KV on all GPUs: where heads are fewer than GPUs, copies count too."""
    copies = max(1.0, hardware.num_gpus / model.kv_heads)
    return model.kv_bytes_per_token * copies


def _attention_of_prefill(model: ModelConfig, hardware: Hardware) -> LongRequest:
    """Each new token meets all before it: e new ones over s in all meet e * (s - e / 2).

    For each such pair, two products (scores and values) of `query_size` terms, two operations
    each, in every layer.
    """
    pair_ms = hardware.compute_ms(4 * model.query_size * model.num_hidden_layers)
    half_ms = _rounded(pair_ms / 2)
    return LongRequest(per_product_ms=2 * half_ms, per_new_squared_ms=-half_ms)


def _source(model: ModelConfig, hardware: Hardware, capacity_tokens: int) -> str:
    gpu = hardware.gpu
    return (
        f"Estimate, not measured: roofline of a model of {model.all_weights / 1e9:.2f} billion "
        f"{model.weight_bytes * 8}-bit weights on {hardware.num_gpus} x {gpu.title} "
        f"({gpu.peak_tflops:g} TFLOP/s dense, of which {hardware.compute_share:g}; "
        f"{gpu.memory_gb_per_s:g} GB/s, of which {hardware.bandwidth_share:g}; {gpu.source}). "
        f"KV cache: {model.kv_bytes_per_token:,} bytes a token, room for {capacity_tokens:,} "
        f"tokens in {MEMORY_SHARE:g} of the memory."
    )


def _rounded(ms: float) -> float:
    return float(f"{ms:.6g}")

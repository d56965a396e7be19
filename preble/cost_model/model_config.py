"""The sizes of a dense decoder-only model, from its Hugging Face `config.json`."""

from typing import Annotated, Final

import msgspec

from preble.errors import ConfigError

_EXPERT_FIELDS: Final = (
    "num_local_experts",
    "num_experts",
    "n_routed_experts",
    "moe_intermediate_size",
)
_TYPE_BYTES: Final = {"float16": 2, "bfloat16": 2, "float32": 2}
"""Bytes of a weight once served: engines serve 32-bit models in 16 bits unless told otherwise."""

Size = Annotated[int, msgspec.Meta(ge=1)]


class ModelConfig(msgspec.Struct, frozen=True):
    """Field names as in `config.json`; fields that do not matter here are ignored."""

    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Size
    num_attention_heads: Size
    vocab_size: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    torch_dtype: str | None = None
    dtype: str | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        """Check the type of the weights. Raises: ValueError."""
        if self.weight_type not in _TYPE_BYTES:
            raise ValueError(f"weights of type {self.weight_type} are not estimated")

    @property
    def weight_type(self) -> str:
        """Of its weights; 16 bits where it does not say."""
        return self.dtype or self.torch_dtype or "bfloat16"

    @property
    def weight_bytes(self) -> int:
        """Bytes of one weight, and of one number in the KV cache, once served."""
        return _TYPE_BYTES[self.weight_type]

    @property
    def kv_heads(self) -> int:
        """Heads that have keys and values of their own."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_size(self) -> int:
        """Numbers in one head of one token."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def query_size(self) -> int:
        """Numbers in all query heads of one token."""
        return self.num_attention_heads * self.head_size

    @property
    def layer_weights(self) -> int:
        """Weights that each token is multiplied with: attention, and an MLP with a gate.

        The MLP is that of Llama, Mistral, Qwen and Gemma: three matrices.
        """
        kv_size = self.kv_heads * self.head_size
        attention = 2 * self.hidden_size * (self.query_size + kv_size)
        mlp = 3 * self.hidden_size * self.intermediate_size
        return self.num_hidden_layers * (attention + mlp)

    @property
    def head_weights(self) -> int:
        """Weights of the output layer, read in every step."""
        return self.vocab_size * self.hidden_size

    @property
    def all_weights(self) -> int:
        """Weights in memory: the embeddings too, where they are not the output layer's."""
        return self.layer_weights + self.head_weights * (1 if self.tie_word_embeddings else 2)

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of the KV cache that one token takes."""
        return 2 * self.num_hidden_layers * self.kv_heads * self.head_size * self.weight_bytes


def parse_model_config(text: bytes, *, origin: str) -> ModelConfig:
    """The model that a `config.json` describes.

    Raises:
        ConfigError: If it is no JSON, lacks a size, or describes a mixture of experts or a
            quantized model, naming `origin`.
    """
    try:
        fields = msgspec.json.decode(text, type=dict[str, object])
        _refuse_unlike(fields)
        return msgspec.convert(fields, ModelConfig)
    except (msgspec.DecodeError, ValueError) as error:
        msg = f"model config {origin}: {error}"
        raise ConfigError(msg) from None


def _refuse_unlike(fields: dict[str, object]) -> None:
    """Raises: ValueError for models whose cost follows other rules."""
    if experts := [name for name in _EXPERT_FIELDS if fields.get(name)]:
        msg = f"{experts[0]} makes it a mixture of experts: measure it (`--measure`)"
        raise ValueError(msg)
    if fields.get("quantization_config"):
        raise ValueError("it is quantized: measure it (`--measure`)")

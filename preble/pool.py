"""What a process of Preble brings to the pool it joins."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from preble.config import Settings
from preble.errors import ConfigError
from preble.messages import PoolRecord
from preble.tokenizer import Tokenizer

_WEIGHTS: Final = ("*.safetensors", "*.bin", "*.gguf", "*.pt")
_SAMPLE_BYTES: Final = 256 * 1024
_CONFIG: Final = "config.json"


def pool_record(settings: Settings, tokenizer: Tokenizer) -> PoolRecord:
    """The record under which this process may join the pool, or found it."""
    return PoolRecord(
        model=settings.model,
        tokenizer_fingerprint=tokenizer.fingerprint,
        vocab_size=tokenizer.vocab_size,
        context_length=settings.context_length,
        block_size=settings.block_size,
        page_size=settings.page_size,
    )


def weights_fingerprint(folder: Path) -> str:
    """Hex SHA-256 that tells one model folder from another.

    Of the weights, only sizes, beginnings (where a file names its tensors) and ends are read:
    to read hundreds of gigabytes at each start would take minutes.

    Raises:
        ConfigError: If there is no model in the folder, or it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for part in _fingerprinted(folder):
            digest.update(part)
    except OSError as error:
        msg = f"model file {error.filename}: {error.strerror}; set PREBLE_MODEL_PATH to a model"
        raise ConfigError(msg) from None
    return digest.hexdigest()


def _fingerprinted(folder: Path) -> Iterator[bytes]:
    yield (folder / _CONFIG).read_bytes()
    for path in sorted(each for pattern in _WEIGHTS for each in folder.glob(pattern)):
        size = path.stat().st_size
        yield f"\0{path.name}\0{size}\0".encode()
        with path.open("rb") as weights:
            yield weights.read(_SAMPLE_BYTES)
            weights.seek(max(0, size - _SAMPLE_BYTES))
            yield weights.read()

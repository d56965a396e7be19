"""What a process brings to its pool."""

from pathlib import Path

import msgspec
import pytest

from preble.config import Settings
from preble.errors import ConfigError
from preble.messages import PoolRecord
from preble.pool import pool_record, weights_fingerprint
from preble.tokenizer import load_tokenizer


def test_record_holds_all_that_must_agree() -> None:
    settings = Settings(model="m", context_length=512, block_size=32, page_size=8)
    tokenizer = load_tokenizer("embedded")
    record = pool_record(settings, tokenizer)
    assert msgspec.structs.asdict(record) == {
        "model": "m",
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "vocab_size": tokenizer.vocab_size,
        "context_length": 512,
        "block_size": 32,
        "page_size": 8,
    }
    assert isinstance(record, PoolRecord)


def test_weights_are_told_apart_by_config_names_sizes_and_samples(tmp_path: Path) -> None:
    def fingerprint(
        config: str = "{}", name: str = "model.safetensors", data: bytes = b"ab"
    ) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "config.json").write_text(config)
        (folder / name).write_bytes(data)
        return weights_fingerprint(folder)

    end = b"\0" * 1_000_000
    others = (
        fingerprint(config='{"a":1}'), fingerprint(name="other.safetensors"),
        fingerprint(data=b"abc"), fingerprint(data=end), fingerprint(data=end[1:] + b"1"),
    )  # fmt: skip
    assert fingerprint() == fingerprint()
    assert len({fingerprint(), *others}) == 1 + len(others)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json: No such file.*PREBLE_MODEL_PATH"):
        weights_fingerprint(tmp_path)

"""What a process brings to its pool."""

import msgspec

from preble.config import Settings
from preble.messages import PoolRecord
from preble.pool import pool_record
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

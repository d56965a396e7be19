"""What a process of Preble brings to the pool it joins."""

from preble.config import Settings
from preble.messages import PoolRecord
from preble.tokenizer import Tokenizer


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

"""Prompts and block keys as bytes, and every message as msgpack."""

from array import array
from collections.abc import Iterable, Sequence
from typing import Final, NewType

import msgspec

Tokens = NewType("Tokens", bytes)
"""Token ids as little-endian uint32, four bytes each."""


BlockKeys = NewType("BlockKeys", bytes)
"""Chained block keys as little-endian uint64, eight bytes each, first block first."""


TOKEN_BYTES: Final = 4


encode = msgspec.msgpack.Encoder().encode
"""Any message to msgpack bytes."""


def pack_tokens(ids: Sequence[int]) -> Tokens:
    """Token ids to their wire form.

    Raises:
        OverflowError: If an id is negative or above 2**32 - 1.
    """
    return Tokens(array("I", ids).tobytes())


def unpack_tokens(tokens: Tokens) -> list[int]:
    """Token ids from their wire form, shape (len(tokens) / 4,)."""
    return array("I", tokens).tolist()


def pack_keys(keys: Iterable[int]) -> BlockKeys:
    """Block keys to their wire form."""
    return BlockKeys(array("Q", keys).tobytes())


def unpack_keys(block_keys: BlockKeys) -> list[int]:
    """Block keys from their wire form, shape (len(block_keys) / 8,)."""
    return array("Q", block_keys).tolist()

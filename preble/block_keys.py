"""Block keys: a prompt's prefixes, named by one 64-bit number each.

A block is a run of `block_size` tokens. Its key hashes its own tokens with the key of the
block before it as seed, so a key names the *whole prefix* up to the end of its block:

    tokens   [ block 0 ][ block 1 ][ block 2 ][ rest: no key ]
    keys      k0=h(b0,root) k1=h(b1,k0) k2=h(b2,k1)

Two prompts share key i exactly when they share all tokens up to block i (but for a 64-bit
collision, which costs one wrong placement and never a wrong answer: the engine compares
tokens itself). The root is seeded by the pool and the cache salt, so pools and tenants
that must not share a prefix cannot.
"""

from itertools import pairwise
from typing import Final

from xxhash import xxh3_64_intdigest

from preble.messages import TOKEN_BYTES, BlockKeys, PoolRecord, Tokens, encode, pack_keys

_SEPARATOR: Final = b"\0"


def root_key(pool: PoolRecord, cache_salt: str) -> int:
    """The seed under which all prompts of one pool and one cache salt are keyed."""
    return xxh3_64_intdigest(encode(pool) + _SEPARATOR + cache_salt.encode())


def block_keys(tokens: Tokens, *, root: int, block_size: int) -> BlockKeys:
    """Keys of all full blocks of a prompt, in order.

    Args:
        tokens: The prompt; a last block that is not full gets no key.
        root: From `root_key`.
        block_size: Tokens in a block.

    Cost: O(len(tokens)), about half a microsecond a block of 64.
    """
    stride = block_size * TOKEN_BYTES
    view = memoryview(tokens)
    ends = range(0, len(tokens) + 1, stride)
    keys: list[int] = []
    key = root
    for start, end in pairwise(ends):
        key = xxh3_64_intdigest(view[start:end], key)
        keys.append(key)
    return pack_keys(keys)


def next_key(parent_key: int, block_tokens: Tokens) -> int:
    """Key of one full block whose predecessor has `parent_key`."""
    return xxh3_64_intdigest(block_tokens, parent_key)

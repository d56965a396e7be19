"""Prompts as chains of named segments, and the block keys that name them.

No text exists: a segment is a label and a number of tokens. Two prompts share a block exactly
when they have the same segments, of the same lengths, up to its end:

    segments   [ system ][      document      ][ question ]
    blocks     [   0   ][   1   ][   2   ][   3   ]  rest: no key

Block 0 belongs to `system` alone if it ends there, else already to the document. The key of a
block hashes the name of the last segment it touches, with the key before it as seed.
"""

from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest

from preble.messages import BlockKeys, pack_keys

_CONTENT_BYTES: Final = 8


class Prefix(msgspec.Struct, frozen=True):
    """The beginning of a prompt.

    Args:
        content: Names all segments so far.
        last_key: Of the last full block; the root's seed if there is none.
    """

    block_size: int
    content: int
    last_key: int
    tokens: int = 0
    block_keys: BlockKeys = BlockKeys(b"")

    def extend(self, label: str, tokens: int) -> "Prefix":
        """This prefix and one more segment.

        Cost: O(blocks added), plus a copy of the keys so far.
        """
        content = xxh3_64_intdigest(label.encode(), self.content)
        total_tokens = self.tokens + tokens
        num_new = total_tokens // self.block_size - self.tokens // self.block_size
        new = chain([content] * num_new, self.last_key)
        return Prefix(
            block_size=self.block_size,
            content=content,
            last_key=new[-1] if new else self.last_key,
            tokens=total_tokens,
            block_keys=BlockKeys(self.block_keys + pack_keys(new)),
        )


def root(name: str, block_size: int) -> Prefix:
    """The empty prefix of one workload; workloads of other names share nothing with it."""
    seed = root_key(name)
    return Prefix(block_size=block_size, content=seed, last_key=seed)


def root_key(name: str) -> int:
    """The seed under which all prompts of one workload are keyed."""
    return xxh3_64_intdigest(name.encode())


def chain(contents: list[int], parent_key: int) -> list[int]:
    """Keys of blocks in a row, each hashing its content with the key before it as seed.

    Args:
        contents: One number below 2^64 for each block, equal where its content is equal.
        parent_key: Of the block before them.
    """
    keys: list[int] = []
    key = parent_key
    for content in contents:
        key = xxh3_64_intdigest(content.to_bytes(_CONTENT_BYTES, "little"), key)
        keys.append(key)
    return keys

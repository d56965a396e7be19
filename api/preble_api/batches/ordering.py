"""The order in which the lines of a batch are run: what begins alike stands together.

The scheduler sees a window of waiting jobs; only here is the whole batch known. Prompts need no
tokens for that: texts that begin alike have tokens that do. Of each prompt are kept hashes of
its first 64, 128, 256 … bytes, a hundred bytes of memory whatever its length; whoever shares
the first 16 KB stands together within those that share the first 8, and so on.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from heapq import merge
from typing import Final

import msgspec

from preble.messages import TOKEN_BYTES, BlockKeys, pack_tokens
from preble_api.schemas import JobRequest

SHORTEST_BYTES: Final = 64
LONGEST_BYTES: Final = 65_536
_KEY_BYTES: Final = 8
_RUN_LINES: Final = 4_096
"""Lines sorted at once: a sort holds the interpreter for its whole time, about 2 ms."""


def prefix_key(job: JobRequest) -> BlockKeys:
    """Hashes of ever longer beginnings of a prompt. Cost: O(its first 64 KB)."""
    text = _beginning(job)
    hashed, key, start, end = blake2b(digest_size=_KEY_BYTES), b"", 0, SHORTEST_BYTES
    while start < len(text) and start < LONGEST_BYTES:
        hashed.update(text[start:end])
        key += hashed.digest()
        start, end = end, end * 2
    return BlockKeys(key)


def prefix_order(keys: Sequence[BlockKeys]) -> Iterator[int]:
    """Indices of prompts, so ordered that all whose keys begin alike stand together.

    A prompt comes before those that extend it; which of two groups comes first is left to chance.

    Cost: a sort, most of it as the indices are taken: 0.2 s for 50,000 prompts.
    """
    runs = (
        sorted(range(start, min(start + _RUN_LINES, len(keys))), key=keys.__getitem__)
        for start in range(0, len(keys), _RUN_LINES)
    )
    return merge(*runs, key=keys.__getitem__)


def _beginning(job: JobRequest) -> bytes:
    """A text that begins alike where prompts do; of no other kind of prompt."""
    if job.prompt is not None:
        return b"p" + job.prompt[:LONGEST_BYTES].encode()
    if job.messages is not None:
        return b"m" + msgspec.json.encode(job.messages)[:LONGEST_BYTES]
    try:
        return b"i" + pack_tokens((job.input_ids or [])[: LONGEST_BYTES // TOKEN_BYTES])
    except OverflowError:  # ids that the intake will refuse
        return b"i"

"""Sorts a batch of any size by prefix, before it is cut into calls.

The api orders the jobs of one call, by their tokens. What lies in different calls only the
client can bring together; it needs no tokenizer for that, for texts that begin alike have
prompts that do.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from preble.messages import pack_tokens

_KINDS: Final = ("input_ids", "prompt", "messages")


def in_prefix_order(jobs: Sequence[Mapping[str, object]]) -> list[int]:
    """Indices of jobs, so ordered that prompts that begin alike stand together.

    Args:
        jobs: As the api takes them. What it will refuse has a place here too.

    Returns:
        Each index once: a prompt before those that extend it, equal prompts in the order given.

    Cost: O(bytes of all prompts) and a sort.
    """
    keys = [_key(job) for job in jobs]
    return sorted(range(len(keys)), key=keys.__getitem__)


def _key(job: Mapping[str, object]) -> tuple[str, bytes]:
    kind = next((kind for kind in _KINDS if job.get(kind) is not None), "")
    value = job.get(kind)
    return kind, _packed(value) if kind == "input_ids" else _text(value)


def _packed(ids: object) -> bytes:
    try:
        return pack_tokens(msgspec.convert(ids, list[int]))
    except (msgspec.ValidationError, OverflowError):
        return b""


def _text(value: object) -> bytes:
    """The JSON of a text or a chat, which begins alike where they do, without its end."""
    return msgspec.json.encode(value)[:-1]

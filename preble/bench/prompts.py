"""Prompts for a workload, which has none: token ids that share what its block keys share."""

from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from preble.client import JobFields
from preble.messages import pack_keys, unpack_keys
from preble.simulator.workload import TimedRequest, Workload

_FIRST_ID, _LAST_ID = 1_000, 15_000
"""Ordinary words in any vocabulary we serve."""

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_FACTOR: Final = np.uint64(0xBF58476D1CE4E5B9)
_FOLD: Final = np.uint64(31)

_Seeds = NDArray[np.uint64]


def prompt_ids(request: TimedRequest, number: int, block_size: int) -> list[int]:
    """Token ids of a prompt: the same block key gives the same block, the rest is its own.

    Args:
        request: Whose prompt.
        number: Tells its rest from that of all others.
        block_size: Tokens in a block of its workload.

    Cost: some 20 nanoseconds a token.
    """
    shared = _tokens(np.array(unpack_keys(request.block_keys), np.uint64), block_size)
    return (shared + random_ids(number, block_size))[: request.prompt_tokens]


def random_ids(number: int, length: int) -> list[int]:
    """So many token ids; each number, from -2^32 on, has its own."""
    return _tokens(np.array([2**63 + number], np.uint64), length)


def job_fields(ids: list[int], output_tokens: int) -> JobFields:
    """A job as the api takes it, whose output has exactly so many tokens."""
    sampling = {"max_new_tokens": output_tokens, "temperature": 0.0, "ignore_eos": True}
    return {"input_ids": ids, "sampling_params": sampling}


def repeated(workload: Workload, num_requests: int) -> Workload:
    """The requests over and over, until there are so many: the same documents, asked anew.

    Each copy shares with the first all but its last full block and what follows it.
    """
    first = workload.requests
    copies = (
        _asked_anew(first[number % len(first)], number) if number >= len(first) else first[number]
        for number in range(num_requests)
    )
    return Workload(workload.name, workload.block_size, tuple(copies))


def longest(workload: Workload) -> int:
    """Tokens of context that its longest request needs."""
    return max(request.prompt_tokens + request.output_tokens for request in workload.requests)


def _asked_anew(request: TimedRequest, number: int) -> TimedRequest:
    keys = unpack_keys(request.block_keys)
    last = [xxh3_64_intdigest(number.to_bytes(8, "little"), key) for key in keys[-1:]]
    return replace(request, block_keys=pack_keys([*keys[:-1], *last]))


def _tokens(seeds: _Seeds, each: int) -> list[int]:
    """So many random ids for each seed: steps of a Weyl sequence, mixed."""
    steps = np.arange(1, each + 1, dtype=np.uint64) * _GOLDEN
    mixed = seeds[:, None] ^ (seeds[:, None] >> _FOLD) ^ steps
    mixed = (mixed ^ (mixed >> _FOLD)) * _FACTOR
    mixed ^= mixed >> _FOLD
    ids: list[int] = (_FIRST_ID + mixed % np.uint64(_LAST_ID - _FIRST_ID)).ravel().tolist()
    return ids

"""Mooncake traces: a production chat service, real arrivals, hashes of blocks of 512 tokens.

Source: kvcache-ai/Mooncake, FAST'25 traces. Two traps, both handled here: timestamps are ticks of
3 s, about ten requests at once; and the first block is in every prompt, so it says nothing about
who belongs together. The group is the second block.
"""

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
import numpy as np

from preble.simulator.workload.request import TimedRequest, Workload
from preble.simulator.workload.traces.block_naming import BlockNaming, block_ids
from preble.simulator.workload.traces.lines import (
    BlockId,
    Line,
    OutputTokens,
    PromptTokens,
)
from preble.simulator.workload.traces.options import TraceOptions, check_blocks, timed

_BLOCK_SIZE: Final = 512
_TICK_S: Final = 3.0


class _Row(msgspec.Struct):
    timestamp: Annotated[float, msgspec.Meta(ge=0)]  # milliseconds
    input_length: PromptTokens
    output_length: OutputTokens
    hash_ids: Annotated[list[BlockId], msgspec.Meta(min_length=1)]


def read_mooncake(lines: Iterator[Line], options: TraceOptions) -> Workload:
    """Requests spread evenly, at random, over the tick they are recorded in.

    Raises:
        ConfigError: If a line is wrong, or block size or rate do not fit.
    """
    rng = np.random.default_rng(options.seed)
    naming = BlockNaming(options.name, _BLOCK_SIZE, options.block_size)
    requests = (_request(line, naming, float(rng.uniform(0, _TICK_S))) for line in lines)
    return timed(options, naming.block_size, requests)


def _request(line: Line, naming: BlockNaming, in_tick_s: float) -> TimedRequest:
    row = line.decode(_Row)
    check_blocks(line, len(row.hash_ids), row.input_length, _BLOCK_SIZE)
    return TimedRequest(
        at_s=row.timestamp / 1000 + in_tick_s,
        prompt_tokens=row.input_length,
        output_tokens=max(1, row.output_length),
        block_keys=naming.keys(block_ids(row.hash_ids), row.input_length),
        group=str(row.hash_ids[:2][-1]),
    )

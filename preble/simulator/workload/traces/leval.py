"""L-Eval: questions about long documents, as lengths and hashes of blocks of 16 tokens.

Nobody ever sent these questions: timestamps in the file are ignored, and arrivals are drawn in
the order of the file. It looks like a Mooncake trace but for `group` and the size of its blocks.
"""

from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np

from preble.simulator.workload.arrivals import poisson
from preble.simulator.workload.request import TimedRequest, Workload
from preble.simulator.workload.traces.block_naming import BlockNaming, block_ids
from preble.simulator.workload.traces.lines import BlockId, Line, OutputTokens, PromptTokens
from preble.simulator.workload.traces.options import TraceOptions, check_blocks, needed_rps

_BLOCK_SIZE: Final = 16


class _Row(msgspec.Struct):
    group: str
    input_length: PromptTokens
    output_length: OutputTokens
    hash_ids: list[BlockId]


def read_leval(lines: Iterator[Line], options: TraceOptions) -> Workload:
    """Requests with exponential gaps.

    Raises:
        ConfigError: If a line is wrong, the rate is missing, or the block size does not fit.
    """
    rps = needed_rps(options)
    naming = BlockNaming(options.name, _BLOCK_SIZE, options.block_size)
    waiting = [_request(line, naming) for line in lines]
    at_s = poisson(np.random.default_rng(options.seed), len(waiting), rps).tolist()
    requests = (
        msgspec.structs.replace(one, at_s=arrival_s)
        for one, arrival_s in zip(waiting, at_s, strict=True)
    )
    return Workload(options.name, naming.block_size, tuple(requests))


def _request(line: Line, naming: BlockNaming) -> TimedRequest:
    row = line.decode(_Row)
    check_blocks(line, len(row.hash_ids), row.input_length, _BLOCK_SIZE)
    return TimedRequest(
        at_s=0.0,
        prompt_tokens=row.input_length,
        output_tokens=max(1, row.output_length),
        block_keys=naming.keys(block_ids(row.hash_ids), row.input_length),
        group=row.group,
    )

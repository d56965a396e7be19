"""Preble's own trace format: JSON lines; docs/reference/trace_format.md describes it."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec

from preble.config import Priority
from preble.messages import BlockKeys
from preble.simulator.workload.prefix import Prefix, root
from preble.simulator.workload.request import TimedRequest, Workload
from preble.simulator.workload.traces.block_naming import BlockNaming, block_ids
from preble.simulator.workload.traces.lines import (
    BlockId,
    Line,
    OutputTokens,
    PromptTokens,
    Seconds,
)
from preble.simulator.workload.traces.options import TraceOptions, check_blocks, timed

FORMAT: Final = "preble-trace"


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    format: Literal["preble-trace"]
    version: Literal[1]
    block_size: Annotated[int, msgspec.Meta(ge=1)]


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    at_s: Seconds
    prompt_tokens: PromptTokens
    output_tokens: OutputTokens
    blocks: list[BlockId] | None = None
    shared_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    group: str = ""
    tenant: str = ""
    priority: Priority = "normal"


def read_preble_trace(lines: Iterator[Line], options: TraceOptions) -> Workload:
    """Requests as they are written down, in order of arrival.

    Raises:
        ConfigError: If a line is wrong, or block size or rate do not fit.
    """
    header = next(lines).decode(_Header)
    naming = BlockNaming(options.name, header.block_size, options.block_size)
    empty = root(options.name, naming.block_size)
    requests = (_request(line, naming, empty) for line in lines)
    return timed(options, naming.block_size, requests)


def _request(line: Line, naming: BlockNaming, empty: Prefix) -> TimedRequest:
    row = line.decode(_Row)
    return TimedRequest(
        at_s=row.at_s,
        prompt_tokens=row.prompt_tokens,
        output_tokens=max(1, row.output_tokens),
        block_keys=_keys(line, row, naming, empty),
        group=row.group,
        tenant=row.tenant,
        priority=row.priority,
    )


def _keys(line: Line, row: _Row, naming: BlockNaming, empty: Prefix) -> BlockKeys:
    if row.blocks is None:
        return _keys_in_group(line, row, empty)
    if row.shared_tokens:
        raise line.wrong("has blocks and shared_tokens. Give one of them.")
    check_blocks(line, len(row.blocks), row.prompt_tokens, naming.trace_block_size)
    return naming.keys(block_ids(row.blocks), row.prompt_tokens)


def _keys_in_group(line: Line, row: _Row, empty: Prefix) -> BlockKeys:
    if row.shared_tokens > row.prompt_tokens:
        raise line.wrong(
            f"shares {row.shared_tokens} of {row.prompt_tokens} tokens. Share at most the prompt."
        )
    if row.shared_tokens and not row.group:
        raise line.wrong("has shared_tokens and no group. Name the group that shares them.")
    shared = empty.extend(f"group/{row.group}", row.shared_tokens)
    prompt = shared.extend(f"line/{line.number}", row.prompt_tokens - row.shared_tokens)
    return prompt.block_keys

"""Azure LLM inference traces: real arrival times and lengths as CSV, no content.

Nothing is known of what prompts share, so they share nothing.
Source: Azure/AzurePublicDataset, November 2023.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from preble.simulator.workload.prefix import Prefix, root
from preble.simulator.workload.request import TimedRequest, Workload
from preble.simulator.workload.traces.lines import Line, OutputTokens, PromptTokens
from preble.simulator.workload.traces.options import TraceOptions, timed

AZURE_HEADER: Final = b"TIMESTAMP,ContextTokens,GeneratedTokens"

_DEFAULT_BLOCK_SIZE: Final = 64
_NO_TIME: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - the trace has no time zone


class _Row(msgspec.Struct, array_like=True):
    timestamp: datetime
    context_tokens: PromptTokens
    generated_tokens: OutputTokens


def read_azure(lines: Iterator[Line], options: TraceOptions) -> Workload:
    """Requests from the first one's time on, each with a prompt of its own.

    Raises:
        ConfigError: If a line is wrong or the rate is not possible.
    """
    next(lines)
    block_size = options.block_size or _DEFAULT_BLOCK_SIZE
    empty = root(options.name, block_size)
    rows = [(line.number, _row(line)) for line in lines]
    start = min((row.timestamp for _, row in rows), default=_NO_TIME)
    requests = (_request(empty, number, row, start) for number, row in rows)
    return timed(options, block_size, requests)


def _row(line: Line) -> _Row:
    try:
        return msgspec.convert(line.data.decode().split(","), _Row, strict=False)
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        raise line.wrong(f"{error}. Write {AZURE_HEADER.decode()}.") from error


def _request(empty: Prefix, number: int, row: _Row, start: datetime) -> TimedRequest:
    return TimedRequest(
        at_s=(row.timestamp - start).total_seconds(),
        prompt_tokens=row.context_tokens,
        output_tokens=max(1, row.generated_tokens),
        block_keys=empty.extend(f"line/{number}", row.context_tokens).block_keys,
    )

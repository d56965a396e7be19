"""Traces: recorded workloads, read line by line from four public formats and Preble's own.

docs/reference/trace_format.md lists them.
"""

from pathlib import Path
from typing import Final

import msgspec

from preble.errors import ConfigError
from preble.simulator.workload.arrivals import check_rate
from preble.simulator.workload.request import Workload
from preble.simulator.workload.traces.azure import AZURE_HEADER, read_azure
from preble.simulator.workload.traces.coding_sessions import read_coding_sessions
from preble.simulator.workload.traces.leval import read_leval
from preble.simulator.workload.traces.lines import Line, read_lines
from preble.simulator.workload.traces.mooncake import read_mooncake
from preble.simulator.workload.traces.options import Reader, TraceOptions
from preble.simulator.workload.traces.preble_trace import FORMAT, read_preble_trace

_READERS: Final[tuple[tuple[frozenset[str], Reader], ...]] = (
    (frozenset({"format"}), read_preble_trace),
    (frozenset({"group", "input_length", "hash_ids"}), read_leval),
    (frozenset({"timestamp", "input_length", "hash_ids"}), read_mooncake),
    (frozenset({"id", "block_size", "requests"}), read_coding_sessions),
)
"""The fields of the first line that tell a format; the first that fits counts."""


def load_trace(
    path: Path, *, seed: int, rps: float | None = None, block_size: int | None = None
) -> Workload:
    """A recorded workload, named after its file; the format is told by the first line.

    Args:
        path: Plain or gzip.
        seed: For what the trace leaves open: arrivals, or the moment within a tick.
        rps: Mean arrivals a second; None for the trace's own, if it has them.
        block_size: Tokens in a block: a multiple or a divisor of the trace's; None for the same.

    Raises:
        ConfigError: If the file cannot be read, a line is wrong (with its number), or sizes and
            rate do not fit the trace.
    """
    if rps is not None:
        check_rate(rps)
    if block_size is not None and block_size < 1:
        raise ConfigError(f"A block of {block_size} tokens is not possible: give 1 or more.")
    first = next(read_lines(path), None)
    if first is None:
        raise ConfigError(f"{path} is empty: give a trace with at least one request.")
    options = TraceOptions(path.name.split(".")[0], seed, rps, block_size)
    workload = _reader(first)(read_lines(path), options)
    if not workload.requests:
        raise ConfigError(f"{path} has no requests: give a trace with at least one.")
    return workload


def _reader(first: Line) -> Reader:
    if first.data == AZURE_HEADER:
        return read_azure
    fields = _fields(first)
    for needed, reader in _READERS:
        if needed <= fields:
            return reader
    raise first.wrong(
        "is the beginning of no known trace. Write Preble's own format, whose first line is "
        f'{{"format": "{FORMAT}", "version": 1, "block_size": 64}}.'
    )


def _fields(line: Line) -> set[str]:
    try:
        return set(msgspec.json.decode(line.data, type=dict[str, msgspec.Raw]))
    except msgspec.MsgspecError:
        return set()

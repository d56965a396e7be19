"""What every reader is told, and the way a reader is called."""

from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

from preble.errors import ConfigError
from preble.simulator.workload.request import TimedRequest, Workload, with_load
from preble.simulator.workload.traces.lines import Line


class TraceOptions(msgspec.Struct, frozen=True):
    """How to read a trace.

    Args:
        name: Of the workload.
        seed: For what the trace leaves open, such as arrivals.
        rps: Mean arrivals a second; None for the trace's own.
        block_size: Tokens in a block; None for the trace's own.
    """

    name: str
    seed: int
    rps: float | None
    block_size: int | None


class Reader(Protocol):
    """Reads one format."""

    def __call__(self, lines: Iterator[Line], options: TraceOptions) -> Workload:
        """The trace as a workload."""
        ...


def timed(options: TraceOptions, block_size: int, requests: Iterable[TimedRequest]) -> Workload:
    """A workload whose arrivals are the trace's own, at the wanted rate.

    The requests may come in any order.

    Raises:
        ConfigError: If the rate is not possible.
    """
    ordered = tuple(sorted(requests, key=lambda one: one.at_s))
    workload = Workload(options.name, block_size, ordered)
    return workload if options.rps is None else with_load(workload, options.rps)


def needed_rps(options: TraceOptions) -> float:
    """The rate for a trace that has no arrivals.

    Raises:
        ConfigError: If none was given.
    """
    if options.rps is None:
        raise ConfigError(f"{options.name} has no arrival times: give a rate in requests/s.")
    return options.rps


def check_blocks(line: Line, num_ids: int, prompt_tokens: int, block_size: int) -> None:
    """A prompt needs an id for each full block and may have one for the rest.

    Raises:
        ConfigError: If there are fewer ids or more.
    """
    least, most = prompt_tokens // block_size, -(-prompt_tokens // block_size)
    if not least <= num_ids <= most:
        raise line.wrong(
            f"{num_ids} block ids for {prompt_tokens} tokens in blocks of {block_size}. "
            f"Give {least} ids, one for each full block"
            + (f", or {most} with the partial one." if most > least else ".")
        )

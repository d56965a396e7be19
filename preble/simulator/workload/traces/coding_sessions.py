"""Sessions of coding agents: long prompts that grow turn by turn, in blocks of 64 tokens.

One line is a session. Its block ids are its own, so nothing can be said of what sessions share,
but for one thing: a prompt begins with the tool definitions of the agent. Sessions with tool
definitions of the same length are taken to have the same, the others to share nothing.

Pauses above ten minutes count as ten: few users leave for a night, but days of nothing at all
would decide the mean rate.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Final

import msgspec
import numpy as np
from xxhash import xxh3_64_intdigest

from preble.simulator.workload.arrivals import poisson
from preble.simulator.workload.request import TimedRequest, Workload
from preble.simulator.workload.traces.block_naming import BlockNaming, Ids
from preble.simulator.workload.traces.lines import (
    BlockId,
    Line,
    OutputTokens,
    PromptTokens,
    Seconds,
)
from preble.simulator.workload.traces.options import TraceOptions, check_blocks, needed_rps

_LONGEST_PAUSE_S: Final = 600.0

_Run = tuple[BlockId, Annotated[int, msgspec.Meta(ge=1, le=2**24)]]  # first id, number of ids


class _Turn(msgspec.Struct, tag_field="type"):
    t: Seconds
    prompt_tokens: PromptTokens = msgspec.field(name="in")
    output_tokens: OutputTokens = msgspec.field(name="out")
    runs: list[_Run]


class _Plain(_Turn, tag="n"):
    pass


class _Streamed(_Turn, tag="s"):
    pass


class _Subagent(msgspec.Struct, tag_field="type", tag="subagent"):
    t: Seconds
    requests: list[_Plain | _Streamed]  # their times count from this one's


class _Session(msgspec.Struct):
    id: str
    block_size: Annotated[int, msgspec.Meta(ge=1)]
    tool_tokens: Annotated[int, msgspec.Meta(ge=0)]
    requests: list[_Plain | _Streamed | _Subagent]


def read_coding_sessions(lines: Iterator[Line], options: TraceOptions) -> Workload:
    """Sessions that start at random times, as often as brings `rps` requests a second.

    The mean rate of the whole is lower, because the last sessions run out alone; `with_load`
    sets it exactly, and shrinks the pauses within sessions as it does.

    Raises:
        ConfigError: If a line is wrong, the rate is missing, or block sizes do not fit.
    """
    rps = needed_rps(options)
    first = next(lines)
    naming = BlockNaming(options.name, first.decode(_Session).block_size, options.block_size)
    sessions = [_requests(line, naming) for line in (first, *lines)]
    rng = np.random.default_rng(options.seed)
    mean_requests = sum(map(len, sessions)) / len(sessions)
    starts_s = poisson(rng, len(sessions), rps / max(1.0, mean_requests)).tolist()
    requests = [
        msgspec.structs.replace(one, at_s=start_s + one.at_s)
        for start_s, session in zip(starts_s, sessions, strict=True)
        for one in session
    ]
    ordered = tuple(sorted(requests, key=lambda one: one.at_s))
    return Workload(options.name, naming.block_size, ordered)


def _requests(line: Line, naming: BlockNaming) -> list[TimedRequest]:
    """A session's requests, in seconds from its start."""
    session = line.decode(_Session)
    if session.block_size != naming.trace_block_size:
        raise line.wrong(
            f"blocks of {session.block_size} tokens after blocks of {naming.trace_block_size}. "
            "Put sessions of one block size into a file."
        )
    turns = _turns(session)
    at_s = _without_long_pauses([turn.t for turn in turns])
    return [
        TimedRequest(
            at_s=arrival_s,
            prompt_tokens=turn.prompt_tokens,
            output_tokens=max(1, turn.output_tokens),
            block_keys=naming.keys(_content(line, session, turn), turn.prompt_tokens),
            group=session.id,
        )
        for turn, arrival_s in zip(turns, at_s, strict=True)
    ]


def _turns(session: _Session) -> list[_Turn]:
    """All turns, those of subagents among them, by the seconds from the session's start."""
    turns: list[_Turn] = []
    for entry in session.requests:
        if isinstance(entry, _Subagent):
            turns += [msgspec.structs.replace(one, t=entry.t + one.t) for one in entry.requests]
        else:
            turns.append(entry)
    return sorted(turns, key=lambda turn: turn.t)


def _without_long_pauses(at_s: Sequence[float]) -> list[float]:
    times = [0.0] if at_s else []
    for before_s, after_s in pairwise(at_s):
        times.append(times[-1] + min(after_s - before_s, _LONGEST_PAUSE_S))
    return times


def _content(line: Line, session: _Session, turn: _Turn) -> Ids:
    """What each block holds: the session's, or the tools', which other sessions may have too."""
    num_ids = sum(length for _, length in turn.runs)
    check_blocks(line, num_ids, turn.prompt_tokens, session.block_size)
    runs = [np.arange(first, first + length, dtype=np.uint64) for first, length in turn.runs]
    ids = np.concatenate(runs) if runs else np.zeros(0, dtype=np.uint64)
    is_tools = ids <= session.tool_tokens // session.block_size  # ids count from 1
    return ids + np.where(
        is_tools, _label(f"tools/{session.tool_tokens}"), _label(f"session/{session.id}")
    )


def _label(name: str) -> np.uint64:
    return np.uint64(xxh3_64_intdigest(name.encode()))

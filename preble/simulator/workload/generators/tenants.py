"""Two tenants: people who chat, and a batch of questions that comes all at once."""

from typing import Final

import numpy as np
from msgspec.structs import replace

from preble.config import Priority
from preble.errors import ConfigError
from preble.simulator.workload.arrivals import poisson
from preble.simulator.workload.draw import (
    Ints,
    apportion,
    even_lengths,
    group_count,
    lengths,
    occurrence,
)
from preble.simulator.workload.generators.assemble import bodies, conversations, to_workload
from preble.simulator.workload.generators.documents import loogle
from preble.simulator.workload.prefix import root
from preble.simulator.workload.request import Workload, by_prefix_order

INTERACTIVE: Final = "interactive"
BATCH: Final = "batch"
"""Names of the tenants."""

_BATCH_SHARE: Final = 0.8
"""Of the requests: a flood, four for each that somebody waits for."""
_BATCH_AT: Final = 0.25
"""When the batch comes: after so much of the chats, which shows how they fared before."""
_TURNS: Final = 5.0
_TURN_EVERY_S: Final = 60.0
"""Time to read an answer and write the next question."""
_SYSTEM_TOKENS: Final = 400
_MESSAGE_TOKENS: Final = (150.0, 200.0)
_OUTPUT_TOKENS: Final = (200.0, 150.0)


def tenants(
    *,
    seed: int,
    num_requests: int,
    rps: float,
    num_groups: int | None = None,
    block_size: int = 64,
    priority: Priority = "batch",
) -> Workload:
    """Chats of tenant `interactive`, and amid them four times as many jobs of tenant `batch`.

    Chats are sessions of some 5 turns, a minute apart, each on top of the one before; they come
    at a fifth of `rps`. The batch asks about long documents (`loogle`) and comes at one moment:
    with priority `batch` in the order of prefixes, as the api sorts it, else as drawn.

    Groups are sessions and documents, by default as many as give 5 turns and 18 questions each.

    Raises:
        ConfigError: If sizes or rate make no workload.
    """
    num_batch = round(_BATCH_SHARE * num_requests)
    num_chats = num_requests - num_batch
    if not num_batch or not num_chats or (num_groups is not None and num_groups < 2):  # noqa: PLR2004 - a kind each
        raise ConfigError("tenants are two: ask for at least 3 requests and 2 groups.")
    documents = None if num_groups is None else max(num_groups // 2, num_groups - num_chats)
    sessions = None if num_groups is None or documents is None else num_groups - documents
    jobs = loogle(
        seed=seed, num_requests=num_batch, rps=rps, num_groups=documents, block_size=block_size
    )
    chats = _chats(seed, num_chats, rps * num_chats / num_requests, sessions, block_size)
    before = int(_BATCH_AT * num_chats)
    at_s = chats.requests[before].at_s
    flood = replace(
        jobs,
        requests=tuple(
            replace(one, at_s=at_s, tenant=BATCH, priority=priority) for one in jobs.requests
        ),
    )
    if priority == "batch":
        flood = by_prefix_order(flood)
    requests = (*chats.requests[:before], *flood.requests, *chats.requests[before:])
    return Workload("tenants", block_size, requests)


def _chats(
    seed: int, num_requests: int, rps: float, num_groups: int | None, block_size: int
) -> Workload:
    rng = np.random.default_rng(seed)
    num_sessions = group_count(num_requests, num_groups, _TURNS)
    system = root(INTERACTIVE, block_size).extend("system", _SYSTEM_TOKENS)
    openings = bodies(system, "session", even_lengths(rng, num_sessions, *_MESSAGE_TOKENS))
    groups = _in_turn(rng, num_sessions, num_requests, span_s=num_requests / rps if rps else 0.0)
    outputs = lengths(rng, num_requests, *_OUTPUT_TOKENS)
    messages = lengths(rng, num_requests, *_MESSAGE_TOKENS)
    prompts = conversations(openings, groups, outputs + messages)
    at_s = poisson(rng, num_requests, rps)
    return to_workload(INTERACTIVE, block_size, prompts, groups, outputs, at_s)


def _in_turn(
    rng: np.random.Generator, num_sessions: int, num_requests: int, *, span_s: float
) -> Ints:
    """Whose turn each request is: sessions begin at any time, and go on every minute."""
    groups = np.repeat(np.arange(num_sessions), apportion(np.ones(num_sessions), num_requests))
    begins_s = rng.random(num_sessions) * span_s
    turns_s = begins_s[groups] + occurrence(groups) * _TURN_EVERY_S
    in_turn: Ints = groups[np.argsort(turns_s, kind="stable")]
    return in_turn

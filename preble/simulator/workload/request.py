"""What the simulator is fed: requests with arrival times, lengths and block keys.

A `Workload` has no text and no tokens: lengths decide what a request costs, block keys decide
what it shares. How one is drawn or read stands in the neighbouring modules.
"""

from collections.abc import Iterable

import msgspec
import numpy as np

from preble.config import Priority
from preble.errors import ConfigError
from preble.messages import BlockKeys
from preble.prefix_order import by_prefix
from preble.simulator.workload.arrivals import check_rate


class TimedRequest(msgspec.Struct, frozen=True):
    """One request and the moment it arrives.

    Args:
        at_s: Arrival, seconds from the workload's start.
        output_tokens: How many it generates, at least 1.
        block_keys: One key for each full block of the prompt.
        group: Who shares with it: a session, a document, a tool. The unit of thinning.
        tenant: Whose request it is; empty if that is not known.
        priority: Its class.
    """

    at_s: float
    prompt_tokens: int
    output_tokens: int
    block_keys: BlockKeys
    group: str = ""
    tenant: str = ""
    priority: Priority = "normal"


class Workload(msgspec.Struct, frozen=True):
    """Requests in order of arrival.

    Args:
        block_size: Tokens in a block.
        requests: Ascending by `at_s`.
    """

    name: str
    block_size: int
    requests: tuple[TimedRequest, ...]

    @property
    def rps(self) -> float:
        """Mean rate of arrival, requests a second; 0 if all arrive at once."""
        span_s = self.requests[-1].at_s - self.requests[0].at_s if self.requests else 0.0
        return (len(self.requests) - 1) / span_s if span_s else 0.0


def with_load(workload: Workload, rps: float) -> Workload:
    """The same requests in the same rhythm, at another mean rate.

    Raises:
        ConfigError: If the rate is not positive, or all requests arrive at once.
    """
    check_rate(rps)
    if not workload.rps:
        raise ConfigError(f"All requests of {workload.name} arrive at once: no rate fits them.")
    stretch = workload.rps / rps
    return _with_requests(
        workload,
        (msgspec.structs.replace(one, at_s=one.at_s * stretch) for one in workload.requests),
    )


def thin(workload: Workload, fraction: float, seed: int) -> Workload:
    """A part of the groups, each with all its requests; arrival times stay.

    Thinning by request would destroy what requests share, and with it every hit rate. A request
    without a group counts as a group of its own. At least one group is kept.

    Raises:
        ConfigError: If the fraction is out of range.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"Cannot keep {fraction} of the groups: give a share in (0, 1].")
    groups = _groups(workload)
    names = list(dict.fromkeys(groups))
    count = max(1, round(fraction * len(names))) if names else 0
    drawn: list[int] = np.random.default_rng(seed).permutation(len(names))[:count].tolist()
    kept = {names[index] for index in drawn}
    chosen = zip(workload.requests, groups, strict=True)
    return _with_requests(workload, (one for one, group in chosen if group in kept))


def head(workload: Workload, n: int) -> Workload:
    """The first `n` requests."""
    return _with_requests(workload, workload.requests[:n])


def as_batch(workload: Workload, *, seed: int) -> Workload:
    """All requests at once, of priority `batch`, in random order."""
    order: list[int] = np.random.default_rng(seed).permutation(len(workload.requests)).tolist()
    return _with_requests(
        workload,
        (
            msgspec.structs.replace(workload.requests[index], at_s=0.0, priority="batch")
            for index in order
        ),
    )


def by_prefix_order(workload: Workload) -> Workload:
    """Requests that come at once, in the order of prefixes: as the api sorts a batch.

    Raises:
        ConfigError: If they come one by one.

    Cost: see `by_prefix`.
    """
    if workload.rps:
        raise ConfigError(f"The requests of {workload.name} come one by one: their order stays.")
    order = by_prefix([one.block_keys for one in workload.requests])
    return _with_requests(workload, (workload.requests[index] for index in order))


def with_burst(workload: Workload, *, start_s: float, duration_s: float, factor: float) -> Workload:
    """The same requests, but so many times faster for a while; the later ones come earlier.

    Raises:
        ConfigError: If the burst has no length, or its factor is not positive.
    """
    if not (start_s >= 0 and duration_s > 0 and factor > 0):
        raise ConfigError(f"No burst is {duration_s} s long at {factor} times the rate.")
    drawn_s = factor * duration_s

    def moved_s(at_s: float) -> float:
        past_s = max(0.0, at_s - start_s)
        return at_s - min(past_s, drawn_s) * (1 - 1 / factor)

    return _with_requests(
        workload,
        (msgspec.structs.replace(one, at_s=moved_s(one.at_s)) for one in workload.requests),
    )


def _groups(workload: Workload) -> list[str | int]:
    return [one.group or index for index, one in enumerate(workload.requests)]


def _with_requests(workload: Workload, requests: Iterable[TimedRequest]) -> Workload:
    return Workload(workload.name, workload.block_size, tuple(requests))

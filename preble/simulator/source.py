"""Where a simulation's requests come from: a named workload or a trace, at a rate."""

from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from preble.errors import ConfigError
from preble.simulator.workload import (
    Workload,
    as_batch,
    by_prefix_order,
    create_workload,
    load_trace,
    with_burst,
    with_load,
)

DEFAULT_REQUESTS: Final = 1_000
DEFAULT_BLOCK_SIZE: Final = 64
DEFAULT_RPS: Final = 1.0

Offline = Literal["random", "sorted"]
"""All requests at once, in random order or in that of their prefixes."""


class Burst(msgspec.Struct, frozen=True):
    """For a while, requests come faster.

    Args:
        start_s: When, in seconds from the workload's start.
        duration_s: For how long.
        factor: How many times the rate before.
    """

    start_s: float
    duration_s: float
    factor: float

    @property
    def end_s(self) -> float:
        """When the old rate is back."""
        return self.start_s + self.duration_s


def parse_burst(text: str) -> Burst:
    """A burst from `300,60,2.5`: second, duration, factor. Raises: ConfigError."""
    try:
        start_s, duration_s, factor = map(float, text.split(","))
    except ValueError:
        raise ConfigError(
            f"{text!r} is no burst: write its second, its duration and its factor, as in 300,60,2.5"
        ) from None
    return Burst(start_s, duration_s, factor)


class Source(msgspec.Struct, frozen=True):
    """Exactly one of `workload` and `trace` is given.

    Args:
        workload: Name of a generator.
        trace: Path of a file.
        num_requests: How many to draw, or the first so many of the trace; None for
            `DEFAULT_REQUESTS`, or for the whole trace.
        skip_requests: How many at the trace's beginning are left out, with their time.
        block_size: Tokens in a block; None for `DEFAULT_BLOCK_SIZE`, or for the trace's own.
        offline: All requests at once, in this order; None for their arrivals.
        burst: When they come faster; None for never.
    """

    workload: str | None = None
    trace: str | None = None
    num_requests: int | None = None
    skip_requests: int = 0
    block_size: int | None = None
    offline: Offline | None = None
    burst: Burst | None = None

    def load(self, *, seed: int, rps: float | None) -> Workload:
        """Its requests; the same seed and rate give the same.

        Args:
            seed: For all that is drawn.
            rps: Arrivals a second; None for the trace's own, or `DEFAULT_RPS`.

        Raises:
            ConfigError: If there is no such workload or trace, or the rate does not fit it.
        """
        if self.offline:
            return self._batch(seed, rps)
        workload = self._timed(seed, rps)
        if burst := self.burst:
            return with_burst(
                workload, start_s=burst.start_s, duration_s=burst.duration_s, factor=burst.factor
            )
        return workload

    def _batch(self, seed: int, rps: float | None) -> Workload:
        if rps is not None or self.burst:
            raise ConfigError("requests that come all at once have neither a rate nor a burst")
        batch = as_batch(self._timed(seed, DEFAULT_RPS), seed=seed)
        return by_prefix_order(batch) if self.offline == "sorted" else batch

    def _timed(self, seed: int, rps: float | None) -> Workload:
        if self.trace is None:
            return self._generated(seed, rps or DEFAULT_RPS)
        if rps is None:
            return _traced(self, seed, None)
        return with_load(_traced(self, seed, DEFAULT_RPS), rps)

    def _generated(self, seed: int, rps: float) -> Workload:
        return create_workload(
            self.workload or "",
            seed=seed,
            num_requests=self.num_requests or DEFAULT_REQUESTS,
            rps=rps,
            block_size=self.block_size or DEFAULT_BLOCK_SIZE,
        )


@lru_cache(maxsize=2)
def _traced(source: Source, seed: int, rps: float | None) -> Workload:
    """One copy of a trace serves all rates: they only stretch it."""
    path = Path(source.trace or "")
    workload = load_trace(path, seed=seed, rps=rps, block_size=source.block_size)
    end = source.num_requests and source.skip_requests + source.num_requests
    requests = workload.requests[source.skip_requests : end]
    if not requests:
        raise ConfigError(f"{path} has {len(workload.requests)} requests: all would be skipped")
    start_s = requests[0].at_s
    return replace(
        workload, requests=tuple(replace(one, at_s=one.at_s - start_s) for one in requests)
    )

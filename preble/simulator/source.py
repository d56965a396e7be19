"""Where a simulation's requests come from: a named workload or a trace, at a rate."""

from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from preble.errors import ConfigError
from preble.simulator.workload import Workload, create_workload, load_trace, with_load

DEFAULT_REQUESTS: Final = 1_000
DEFAULT_BLOCK_SIZE: Final = 64
DEFAULT_RPS: Final = 1.0


class Source(msgspec.Struct, frozen=True):
    """Exactly one of `workload` and `trace` is given.

    Args:
        workload: Name of a generator.
        trace: Path of a file.
        num_requests: How many to draw, or the first so many of the trace; None for
            `DEFAULT_REQUESTS`, or for the whole trace.
        skip_requests: How many at the trace's beginning are left out, with their time.
        block_size: Tokens in a block; None for `DEFAULT_BLOCK_SIZE`, or for the trace's own.
    """

    workload: str | None = None
    trace: str | None = None
    num_requests: int | None = None
    skip_requests: int = 0
    block_size: int | None = None

    def load(self, *, seed: int, rps: float | None) -> Workload:
        """Its requests; the same seed and rate give the same.

        Args:
            seed: For all that is drawn.
            rps: Arrivals a second; None for the trace's own, or `DEFAULT_RPS`.

        Raises:
            ConfigError: If there is no such workload or trace, or the rate does not fit it.
        """
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

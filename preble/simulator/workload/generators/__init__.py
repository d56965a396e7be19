"""Generators: the workloads of the Preble paper, drawn to its Table 1, and some of our own."""

from functools import partial
from typing import Final, Protocol

from preble.errors import ConfigError
from preble.simulator.workload.generators.documents import loogle, video
from preble.simulator.workload.generators.embodied import embodied
from preble.simulator.workload.generators.hot_prefix import hot_prefix, moving_prefix
from preble.simulator.workload.generators.mixed import mixed
from preble.simulator.workload.generators.programming import programming
from preble.simulator.workload.generators.shared_prefix import shared_prefix
from preble.simulator.workload.generators.tenants import tenants
from preble.simulator.workload.generators.toolbench import toolbench
from preble.simulator.workload.request import Workload


class Generator(Protocol):
    """Draws a workload; the same arguments give the same workload everywhere.

    A generator's own docstring says what its groups are and where it differs from its source.
    """

    def __call__(
        self,
        *,
        seed: int,
        num_requests: int,
        rps: float,
        num_groups: int | None = None,
        block_size: int = 64,
    ) -> Workload:
        """A workload of `num_requests` requests.

        Args:
            seed: For all draws.
            num_requests: At least 1.
            rps: Mean arrivals a second; gaps are exponential unless the generator says otherwise.
            num_groups: Distinct shared prefixes; by default as many as Table 1 implies.
            block_size: Tokens in a block.

        Raises:
            ConfigError: If sizes or rate make no workload.
        """
        ...


_GENERATORS: Final[dict[str, Generator]] = {
    "toolbench": toolbench,
    "toolbench_even": partial(toolbench, zipf_a=0.0),
    "toolbench_zipf": partial(toolbench, zipf_a=1.1),
    "embodied": embodied,
    "programming": programming,
    "video": video,
    "loogle": loogle,
    "mixed": mixed,
    "shared_prefix": shared_prefix,
    "hot_prefix": hot_prefix,
    "moving_prefix": moving_prefix,
    "tenants": tenants,
    "tenants_same_class": partial(tenants, priority="normal"),
}

WORKLOADS: Final = tuple(_GENERATORS)
"""Names that `create_workload` knows."""


def create_workload(
    name: str,
    *,
    seed: int,
    num_requests: int,
    rps: float,
    num_groups: int | None = None,
    block_size: int = 64,
) -> Workload:
    """A new workload by its name.

    Args:
        name: One of `WORKLOADS`.
        seed: For all draws.
        num_requests: At least 1.
        rps: Mean arrivals a second.
        num_groups: Distinct shared prefixes; by default as many as Table 1 implies.
        block_size: Tokens in a block.

    Raises:
        ConfigError: If the name is unknown, or sizes or rate make no workload.
    """
    if name not in _GENERATORS:
        raise ConfigError(f"No workload is named {name!r}: take one of {', '.join(WORKLOADS)}.")
    return _GENERATORS[name](
        seed=seed, num_requests=num_requests, rps=rps, num_groups=num_groups, block_size=block_size
    )

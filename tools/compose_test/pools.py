"""The pools of docker-compose.yml that any machine can run."""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Pool(NamedTuple):
    """One of them.

    Attributes:
        services: All that it consists of, Redis first.
        api: That with the published port.
        port_variable: Says which port that is.
        num_instances: That work when all is well.
    """

    services: tuple[str, ...]
    api: str
    port_variable: str
    num_instances: int = 2

    @property
    def built(self) -> tuple[str, ...]:
        """Services whose images are made here."""
        return self.services[1:]

    @property
    def workers(self) -> tuple[str, ...]:
        """Without which jobs wait."""
        return tuple(service for service in self.services if service.startswith("worker"))


POOLS: Final[Mapping[str, Pool]] = {
    "sglang": Pool(
        ("redis", "api", "scheduler-0", "scheduler-1", "worker-0", "worker-1"),
        "api", "PREBLE_PORT",
    ),
    "emulated": Pool(
        ("redis", "api-emulated", "scheduler-emulated", "worker-emulated0", "worker-emulated1"),
        "api-emulated", "EMULATED_PORT",
    ),
}  # fmt: skip

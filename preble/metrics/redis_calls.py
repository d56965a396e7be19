"""Round trips of one process to Redis."""

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry

from preble.metrics import table
from preble.metrics.table import Bounded, histogram


class RedisCalls:
    """Counts and times round trips, by what was asked.

    Args:
        registry: Where the page reads them; None for nowhere.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._seconds = Bounded(histogram(table.REDIS_CALLS, registry))
        self._scripts: dict[object, str] = {}

    def name_scripts(self, names: Mapping[str, str]) -> None:
        """Say which scripts these hashes are."""
        self._scripts.update(names)

    def observe(self, command: Sequence[object], seconds: float) -> None:
        """One round trip, by its first command: `EVALSHA`, its hash and more, or another."""
        name = str(command[0]).lower()
        if name == "evalsha":
            name = self._scripts.get(command[1], name)
        self._seconds.child(name).observe(seconds)

"""What one scheduler counts."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

from prometheus_client import CollectorRegistry

from preble.metrics import table
from preble.metrics.table import Bounded, counter, gauge, histogram


class SchedulerMetrics:
    """What one scheduler counts, over all its terms.

    Args:
        registry: Where its page reads them.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._leading = gauge(table.LEADING, registry)
        self._terms = counter(table.TERMS, registry)
        self._decisions = Bounded(counter(table.DECISIONS, registry))
        self._decision_seconds = histogram(table.DECISION_SECONDS, registry)
        self._peeked = counter(table.JOBS_PEEKED, registry)
        self._batches = counter(table.EVENT_BATCHES, registry)
        self._lag = gauge(table.EVENT_LAG, registry)
        self.gaps = counter(table.EVENT_GAPS, registry)
        self.snapshots_loaded = counter(table.SNAPSHOTS_LOADED, registry)
        self._reaped = counter(table.JOBS_REAPED, registry)
        self._gone = counter(table.INSTANCES_GONE, registry)
        self._instances = gauge(table.PLACEABLE_INSTANCES, registry)
        self._imbalance = gauge(table.LOAD_IMBALANCE, registry)
        self._blocks = gauge(table.KNOWN_BLOCKS, registry)

    def begin_term(
        self, *, instances: Callable[[], float], imbalance: Callable[[], float],
        blocks: Callable[[], float],
    ) -> None:  # fmt: skip
        """This scheduler leads; what is given is asked whenever the page is read."""
        self._terms.inc()
        self._leading.set(1)
        self._instances.set_function(instances)
        self._imbalance.set_function(imbalance)
        self._blocks.set_function(blocks)

    def end_term(self) -> None:
        """It stands by; again: the same."""
        self._leading.set(0)
        for each in (self._instances, self._imbalance, self._blocks):
            each.set_function(_nothing)

    def deciding(self, jobs: int) -> AbstractContextManager[object]:
        """So many that wait were seen, and meanwhile it is decided on them."""
        self._peeked.inc(jobs)
        return self._decision_seconds.time() if jobs else nullcontext()

    def decided(self, reasons: Iterable[tuple[str, str]]) -> None:
        """A policy and its reason for each job that was placed."""
        for each, number in Counter(reasons).items():
            self._decisions.child(*each).inc(number)

    def followed(self, batches: int) -> None:
        """So many batches of block events had gathered since the last look."""
        self._lag.set(batches)
        self._batches.inc(batches)

    def reaped(self, *, requeued: int, failed: int, expired: int, gone: int) -> None:
        """Jobs and instances that a leader took from the dead."""
        outcomes = {"requeued": requeued, "failed": failed, "expired": expired}
        for outcome, number in outcomes.items():
            self._reaped.labels(outcome).inc(number)
        self._gone.inc(gone)


def _nothing() -> float:
    return 0.0

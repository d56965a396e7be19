"""What one worker counts."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from preble.metrics import table
from preble.metrics.table import Bounded, counter, gauge, histogram


class WorkerMetrics:
    """What one worker counts, over all its lives.

    Args:
        registry: Where its page reads them.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self.queue_wait = histogram(table.JOB_QUEUE_WAIT, registry)
        self.ttft = histogram(table.JOB_TTFT, registry)
        self.tpot = histogram(table.JOB_TPOT, registry)
        self.engine = histogram(table.JOB_ENGINE, registry)
        self.e2e = histogram(table.JOB_E2E, registry)
        self._executions = Bounded(counter(table.EXECUTIONS, registry))
        self._running = gauge(table.WORKER_RUNNING, registry)
        self._waiting = gauge(table.WORKER_WAITING, registry)
        self._slots = gauge(table.WORKER_SLOTS, registry)
        self._kv_used = gauge(table.WORKER_KV_USED, registry)
        self._kv_capacity = gauge(table.WORKER_KV_CAPACITY, registry)
        self.prompt_tokens = counter(table.WORKER_PROMPT_TOKENS, registry)
        self.hit_tokens_predicted = counter(table.WORKER_PREDICTED, registry)
        self.hit_tokens_delivered = counter(table.WORKER_DELIVERED, registry)
        self._events = counter(table.BLOCK_EVENTS, registry)
        self._batches = counter(table.BLOCK_EVENT_BATCHES, registry)
        self.leases_lost = counter(table.LEASES_LOST, registry)
        self.results_refused = counter(table.RESULTS_REFUSED, registry)
        self._lives = counter(table.LIVES_ENDED, registry)

    def begin_life(
        self, *, slots: int, kv_capacity_tokens: int, running: Callable[[], float],
        waiting: Callable[[], float], kv_used_tokens: Callable[[], float],
    ) -> None:  # fmt: skip
        """A life began; its functions are asked whenever the page is read."""
        self._slots.set(slots)
        self._kv_capacity.set(kv_capacity_tokens)
        self._running.set_function(running)
        self._waiting.set_function(waiting)
        self._kv_used.set_function(kv_used_tokens)

    def end_life(self, reason: str) -> None:
        """It ended, and nothing runs until the next."""
        self._lives.labels(reason).inc()
        for each in (self._running, self._waiting, self._kv_used):
            each.set_function(_nothing)

    def execution_ended(self, result: str) -> None:
        """`completed`, or the code of its failure."""
        self._executions.child(result).inc()

    def published(self, events: int) -> None:
        """A batch of so many block events has reached the queue."""
        self._batches.inc()
        self._events.inc(events)


def _nothing() -> float:
    return 0.0

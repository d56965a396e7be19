"""The pool's own figures on the metrics page, from one question to the queue per scrape."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from preble.messages import JobState, PoolStats
from preble.metrics import (
    POOL_DEAD_LETTER_BYTES,
    POOL_ENDED_BYTES,
    POOL_INSTANCES,
    POOL_JOBS,
    POOL_PROMPT_BYTES,
    POOL_TOTALS,
    POOL_UP,
)


class PoolCollector(Collector):
    """One answer of the queue as metrics.

    Args:
        stats: None if the queue did not answer.
    """

    def __init__(self, stats: PoolStats | None) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """The metrics; only `pool_up` without an answer."""
        yield GaugeMetricFamily(POOL_UP.full_name, POOL_UP.help, int(self._stats is not None))
        if self._stats is not None:
            yield from _gauges(self._stats)
            yield from _totals(self._stats)


def render(registry: CollectorRegistry, stats: PoolStats | None) -> bytes:
    """The page: this process's own metrics, then the pool's."""
    pool = CollectorRegistry()
    pool.register(PoolCollector(stats))
    return generate_latest(registry) + generate_latest(pool)


def _gauges(stats: PoolStats) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(POOL_JOBS.full_name, POOL_JOBS.help, labels=POOL_JOBS.labels)
    jobs.add_metric([JobState.WAITING], stats.waiting)
    jobs.add_metric([JobState.ASSIGNED], stats.assigned)
    jobs.add_metric([JobState.RUNNING], stats.running)
    yield jobs
    yield GaugeMetricFamily(POOL_PROMPT_BYTES.full_name, POOL_PROMPT_BYTES.help, stats.prompt_bytes)
    yield GaugeMetricFamily(
        POOL_DEAD_LETTER_BYTES.full_name, POOL_DEAD_LETTER_BYTES.help, stats.dead_letter_bytes
    )
    yield GaugeMetricFamily(POOL_ENDED_BYTES.full_name, POOL_ENDED_BYTES.help, stats.ended_bytes)
    yield GaugeMetricFamily(POOL_INSTANCES.full_name, POOL_INSTANCES.help, stats.instances)


def _totals(stats: PoolStats) -> Iterator[Metric]:
    """A total that has not happened yet is 0, so that rates begin with the first one."""
    for name, metric in POOL_TOTALS.items():
        yield CounterMetricFamily(metric.full_name, metric.help, stats.totals.get(name, 0))

"""The pool's own figures on the metrics page, from one look at the queue per scrape."""

from collections.abc import Iterator
from typing import NamedTuple, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from preble.broker import Broker
from preble.messages import InstanceState, InstanceView, JobState, PoolStats, RqView
from preble.metrics import table


class PoolLook(NamedTuple):
    """What a scrape learned of the pool."""

    stats: PoolStats
    instances: list[InstanceView]
    rq: RqView


async def look_at(broker: Broker) -> PoolLook:
    """Ask the queue. Raises: BrokerUnavailable. Cost: O(instances + ingress queues)."""
    return PoolLook(
        await broker.counts.stats(), await broker.roster.views(), await broker.counts.rq_view()
    )  # fmt: skip


class PoolCollector(Collector):
    """One look at the queue as metrics.

    Args:
        look: None if the queue did not answer.
    """

    def __init__(self, look: PoolLook | None) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """The metrics; only `pool_up` without an answer."""
        yield _gauge(table.POOL_UP, int(self._look is not None))
        if self._look is not None:
            yield from _gauges(self._look.stats)
            yield from _totals(self._look.stats)
            yield from _of_instances(self._look.instances)
            yield from _of_rq(self._look.rq)


def render(registry: CollectorRegistry, look: PoolLook | None) -> bytes:
    """The page: this process's own metrics, then the pool's."""
    pool = CollectorRegistry()
    pool.register(PoolCollector(look))
    return generate_latest(registry) + generate_latest(pool)


def _gauge(row: table.Metric, value: float | None = None) -> GaugeMetricFamily:
    labels = row.labels if value is None else None
    return GaugeMetricFamily(row.full_name, row.help, value, labels)


def _counter(row: table.Metric) -> CounterMetricFamily:
    return CounterMetricFamily(row.full_name, row.help, labels=row.labels)


def _gauges(stats: PoolStats) -> Iterator[Metric]:
    jobs = _gauge(table.POOL_JOBS)
    jobs.add_metric([JobState.WAITING], stats.waiting)
    jobs.add_metric([JobState.ASSIGNED], stats.assigned)
    jobs.add_metric([JobState.RUNNING], stats.running)
    yield jobs
    yield _gauge(table.POOL_PROMPT_BYTES, stats.prompt_bytes)
    yield _gauge(table.POOL_DEAD_LETTER_BYTES, stats.dead_letter_bytes)
    yield _gauge(table.POOL_ENDED_BYTES, stats.ended_bytes)
    yield _gauge(table.POOL_INSTANCES, stats.instances)


def _totals(stats: PoolStats) -> Iterator[Metric]:
    """A total that has not happened yet is 0, so that rates begin with the first one."""
    for name, metric in table.POOL_TOTALS.items():
        yield CounterMetricFamily(metric.full_name, metric.help, stats.totals.get(name, 0))


def _of_instances(instances: list[InstanceView]) -> Iterator[Metric]:
    states, jobs = _gauge(table.POOL_INSTANCE_STATE), _gauge(table.POOL_INSTANCE_JOBS)
    for each in instances:
        for state in get_args(InstanceState):
            states.add_metric([each.instance_id, state], int(state == each.state))
        jobs.add_metric([each.instance_id, JobState.ASSIGNED], each.assigned)
        jobs.add_metric([each.instance_id, JobState.RUNNING], each.running)
    yield states
    yield jobs


def _of_rq(rq: RqView) -> Iterator[Metric]:
    workers = _gauge(table.RQ_WORKERS)
    success, failed = _counter(table.RQ_SUCCESS), _counter(table.RQ_FAILED)
    working_time, jobs = _counter(table.RQ_WORKING_TIME), _gauge(table.RQ_JOBS)
    for each in rq.workers:
        workers.add_metric([each.name, each.state, each.name], 1)
        success.add_metric([each.name, each.name], each.succeeded)
        failed.add_metric([each.name, each.name], each.failed)
        working_time.add_metric([each.name, each.name], each.working_s)
    for (queue, status), number in rq.jobs.items():
        jobs.add_metric([queue, status], number)
    yield from (workers, success, failed, working_time, jobs)

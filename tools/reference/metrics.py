"""docs/reference/metrics.md: every metric, as the pages of each process have it."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric as Family

from preble.messages import PoolStats, RqView
from preble.metrics import ApiMetrics, RedisCalls, SchedulerMetrics, WorkerMetrics
from preble.metrics import table as rows
from preble_api.pool_metrics import PoolCollector, PoolLook
from tools.reference.markdown import code, document, table

_INTRODUCTION: Final = """\
`GET /metrics` of every api, in Prometheus's format. It tells of all tenants, so a key must be bound
to none: `preble keys create --name prometheus --all-tenants --scope read` makes one. Schedulers and
workers have a page of their own, without a key, once `metrics_port` is set. How all of them are
used: [Watch a pool](../howto/monitoring.md)."""

_POOL: Final = """\
They stand on every api's page, describe the whole pool and read the same on each: of several, ask
one, or take the largest. While Redis cannot be reached only `preble_pool_up` is there, and is 0.
`name` is the instance's, for Prometheus calls what it scrapes an `instance`. RQ's own are named and
labelled as rq-exporter has them; an RQ worker is an instance."""

_OWN: Final = """\
They count what one process did since it started: sum them over the processes. A histogram has
`_bucket`, `_sum` and `_count`."""

_ANY: Final = """\
On each of the three pages, with the `process_…` metrics of Prometheus's own client: CPU time,
memory, open files."""

_SCHEDULER: Final = """\
On the page of a scheduler. Of several one leads, the others are at 0."""

_WORKER: Final = """\
On the page of a worker. Waits and end-to-end times begin with the job's submission by the clock of
Redis, so they may be compared; no clocks of two hosts are."""

_USES: Final = """\
| Question | Expression |
|---|---|
| Does the queue answer? | `min(preble_pool_up)` |
| How much waits? | `max(preble_pool_jobs{state="waiting"})` |
| Jobs a second | `max(rate(preble_pool_jobs_completed_total[5m]))` |
| Hit rate, as delivered | `max(rate(preble_pool_hit_tokens_delivered_total[5m])) / max(rate(preble_pool_prompt_tokens_total[5m]))` |
| What placement left unused | `max(rate(preble_pool_hit_tokens_available_total[5m])) - max(rate(preble_pool_hit_tokens_delivered_total[5m]))` |
| Decisions, by reason | `sum by (reason) (rate(preble_decisions_total[5m]))` |
| How long do jobs wait? | `histogram_quantile(0.95, sum by (le) (rate(preble_job_queue_wait_seconds_bucket[5m])))` |
| Who leads? | `preble_leading == 1` |
| Share of requests refused | `sum(rate(preble_jobs_rejected_total[5m])) / sum(rate(preble_http_requests_total{route="/v1/jobs",method="POST"}[5m]))` |"""  # noqa: E501 - a row of a table is one line

BY_NAME: Final = {row.full_name: row for row in rows.all_rows()}

_UNITS: Final = ("seconds", "milliseconds", "bytes", "tokens")


def page() -> str:
    """The whole page."""
    pool = PoolCollector(PoolLook(PoolStats(0, 0, 0, 0, 0, {}), [], RqView()))
    return document(
        "Metrics", _INTRODUCTION,
        "## Of the pool", _POOL, _table(pool.collect()),
        "## Of one api", _OWN, _table(_registered(ApiMetrics)),
        "## Of one scheduler", _SCHEDULER, _table(_registered(SchedulerMetrics)),
        "## Of one worker", _WORKER, _table(_registered(WorkerMetrics)),
        "## Of each process", _ANY, _table(_registered(RedisCalls)),
        "## What they are asked for", _USES,
    )  # fmt: skip


def _registered(make: Callable[[CollectorRegistry], object]) -> Iterable[Family]:
    registry = CollectorRegistry()
    make(registry)
    return registry.collect()


def _table(families: Iterable[Family]) -> str:
    head = ["Name", "Type", "Labels", "Unit", "Meaning"]
    return table(head, (_row(family, BY_NAME[family.name]) for family in families))


def _row(family: Family, row: rows.Metric) -> list[str]:
    suffix = "_total" if family.type == "counter" else ""
    labels = ", ".join(code(label) for label in row.labels)
    return [code(family.name + suffix), family.type, labels, _unit(row.name), row.help]


def _unit(name: str) -> str:
    """The word in the name that is a unit, if there is one."""
    return next((word for word in name.split("_") if word in _UNITS), "")

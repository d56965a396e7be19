"""docs/reference/metrics.md: every metric, as an api's page of metrics has it."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric as Family

from preble import metrics
from preble.messages import PoolStats
from preble.metrics import POOL_TOTALS, ApiMetrics, Metric
from preble_api.pool_metrics import PoolCollector
from tools.reference.markdown import code, document, table

_INTRODUCTION: Final = """\
`GET /metrics` of every api, in Prometheus's format. It tells of all tenants, so a key must be bound
to none: `preble keys create --name prometheus --all-tenants --scope read` makes one."""

_POOL: Final = """\
They describe the whole pool and read the same on every api: of several, ask one, or take the
largest. While Redis cannot be reached only `preble_pool_up` is there, and is 0."""

_OWN: Final = """\
They count what one api did since it started: sum them over the apis. A histogram has `_bucket`,
`_sum` and `_count`."""

_USES: Final = """\
| Question | Expression |
|---|---|
| Does the queue answer? | `min(preble_pool_up)` |
| How much waits? | `max(preble_pool_jobs{state="waiting"})` |
| Jobs a second | `max(rate(preble_pool_jobs_completed_total[5m]))` |
| Hit rate, as delivered | `max(rate(preble_pool_hit_tokens_delivered_total[5m])) / max(rate(preble_pool_prompt_tokens_total[5m]))` |
| What placement left unused | `max(rate(preble_pool_hit_tokens_available_total[5m])) - max(rate(preble_pool_hit_tokens_delivered_total[5m]))` |
| Share of requests refused | `sum(rate(preble_jobs_rejected_total[5m])) / sum(rate(preble_http_requests_total{route="/v1/jobs",method="POST"}[5m]))` |"""  # noqa: E501 - a row of a table is one line

_UNITS: Final = ("seconds", "milliseconds", "bytes", "tokens")


def page() -> str:
    """The whole page."""
    rows = [each for each in vars(metrics).values() if isinstance(each, Metric)]
    by_name = {row.full_name: row for row in (*rows, *POOL_TOTALS.values())}
    own = CollectorRegistry()
    ApiMetrics(own)
    stats = PoolStats(0, 0, 0, 0, 0, {})
    return document(
        "Metrics", _INTRODUCTION,
        "## Of the pool", _POOL, _table(PoolCollector(stats).collect(), by_name),
        "## Of one api", _OWN, _table(own.collect(), by_name),
        "## What they are asked for", _USES,
    )  # fmt: skip


def _table(families: Iterable[Family], rows: Mapping[str, Metric]) -> str:
    head = ["Name", "Type", "Labels", "Unit", "Meaning"]
    return table(head, (_row(family, rows[family.name]) for family in families))


def _row(family: Family, row: Metric) -> list[str]:
    suffix = "_total" if family.type == "counter" else ""
    labels = ", ".join(code(label) for label in row.labels)
    return [code(family.name + suffix), family.type, labels, _unit(row.name), row.help]


def _unit(name: str) -> str:
    """The word in the name that is a unit, if there is one."""
    return next((word for word in name.split("_") if word in _UNITS), "")

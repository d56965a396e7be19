"""The table of metrics."""

from prometheus_client import CollectorRegistry, generate_latest

import preble.metrics as table
from preble.metrics import POOL_TOTALS, ApiMetrics, Metric

ROWS = [each for each in vars(table).values() if isinstance(each, Metric)]


def test_every_name_is_in_the_table_once_with_a_meaning() -> None:
    rows = [*ROWS, *POOL_TOTALS.values()]
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert all(row.help.endswith(".") for row in rows)
    assert not any(row.name.endswith("_total") for row in rows)


def test_api_registers_only_what_the_table_has() -> None:
    registry = CollectorRegistry()
    ApiMetrics(registry)
    registered = {family.name for family in registry.collect()}
    assert registered <= {row.full_name for row in ROWS}
    assert len(registered) == 10


def test_counts_appear_on_the_page() -> None:
    registry = CollectorRegistry()
    metrics = ApiMetrics(registry)
    metrics.http_requests.labels("/v1/jobs", "POST", "202").inc()
    metrics.tokenize_seconds.observe(0.002)
    page = generate_latest(registry).decode().splitlines()
    assert 'preble_http_requests_total{method="POST",route="/v1/jobs",status="202"} 1.0' in page
    assert 'preble_tokenize_seconds_bucket{le="0.0025"} 1.0' in page
    assert 'preble_tokenize_seconds_bucket{le="0.001"} 0.0' in page

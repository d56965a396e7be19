"""The table of metrics."""

from prometheus_client import CollectorRegistry, generate_latest

from preble.messages import InstanceId, InstanceView, PoolStats, RqView, RqWorkerView
from preble.metrics import ApiMetrics, RedisCalls, SchedulerMetrics, WorkerMetrics
from preble.metrics.table import MOST_CHILDREN, all_rows
from preble_api.pool_metrics import PoolLook, render

ROWS = all_rows()


def test_every_name_is_in_the_table_once_with_a_meaning() -> None:
    names = [row.full_name for row in ROWS]
    assert len(set(names)) == len(names)
    assert all(row.help.endswith(".") for row in ROWS)
    assert not any(row.name.endswith("_total") for row in ROWS)


def test_what_the_processes_register_is_the_table_and_the_rest_is_of_the_pool() -> None:
    registry = CollectorRegistry()
    for make in (ApiMetrics, SchedulerMetrics, WorkerMetrics, RedisCalls):
        make(registry)
    registered = {family.name for family in registry.collect()}
    others = {row.full_name for row in ROWS} - registered
    assert registered <= {row.full_name for row in ROWS}
    assert {name.partition("_")[0] for name in others} == {"preble", "rq"}
    assert all(name.startswith(("preble_pool_", "rq_")) for name in others)


def test_labels_that_others_fill_are_bounded() -> None:
    """An own policy may say a new reason for each job."""
    registry = CollectorRegistry()
    metrics = SchedulerMetrics(registry)
    metrics.decided(("own", f"because of job {number}") for number in range(MOST_CHILDREN + 50))
    page = generate_latest(registry).decode()
    lines = [line for line in page.splitlines() if line.startswith("preble_decisions_total")]
    assert len(lines) == MOST_CHILDREN + 1
    assert 'preble_decisions_total{policy="other",reason="other"} 50.0' in lines


def test_counts_appear_on_the_page() -> None:
    registry = CollectorRegistry()
    metrics = ApiMetrics(registry)
    metrics.http_requests.labels("/v1/jobs", "POST", "202").inc()
    metrics.tokenize_seconds.observe(0.002)
    page = generate_latest(registry).decode().splitlines()
    assert 'preble_http_requests_total{method="POST",route="/v1/jobs",status="202"} 1.0' in page
    assert 'preble_tokenize_seconds_bucket{le="0.0025"} 1.0' in page
    assert 'preble_tokenize_seconds_bucket{le="0.001"} 0.0' in page


def test_the_pool_s_page_tells_each_instance_s_state_and_what_rq_has() -> None:
    instance = InstanceView(
        instance_id=InstanceId("gpu0"), state="draining", record=None, assigned=2, running=1,
        drained_at_s=None, renewed_ago_s=None, report=None, unsaved_batches=0, lost_batches=0,
    )  # fmt: skip
    worker = RqWorkerView("p.instance.gpu0", "busy", succeeded=4, failed=1, working_s=2.5)
    rq = RqView((worker,), {("p.instance.gpu0", "queued"): 2})
    look = PoolLook(PoolStats(0, 2, 1, 0, 1, {}), [instance], rq)

    page = render(CollectorRegistry(), look).decode().splitlines()

    assert 'preble_pool_instance_state{name="gpu0",state="draining"} 1.0' in page
    assert 'preble_pool_instance_state{name="gpu0",state="ready"} 0.0' in page
    assert 'preble_pool_instance_jobs{name="gpu0",state="assigned"} 2.0' in page
    name = "p.instance.gpu0"
    assert f'rq_workers{{name="{name}",queues="{name}",state="busy"}} 1.0' in page
    assert f'rq_workers_success_total{{name="{name}",queues="{name}"}} 4.0' in page
    assert f'rq_workers_failed_total{{name="{name}",queues="{name}"}} 1.0' in page
    assert f'rq_workers_working_time_total{{name="{name}",queues="{name}"}} 2.5' in page
    assert f'rq_jobs{{queue="{name}",status="queued"}} 2.0' in page
    assert "preble_pool_up 0.0" in render(CollectorRegistry(), None).decode().splitlines()

"""What Prometheus is told, in one table, and what each process counts of it.

    table.py         every metric
    api.py           those of one api; the pool's stand in `preble_api.pool_metrics`
    scheduler.py     those of one scheduler
    worker.py        those of one worker
    redis_calls.py   round trips to Redis, of any process

Each process has a registry of its own, which its page reads; nothing is global.
"""

from preble.metrics.api import ApiMetrics
from preble.metrics.process import process_registry
from preble.metrics.redis_calls import RedisCalls
from preble.metrics.scheduler import SchedulerMetrics
from preble.metrics.worker import WorkerMetrics

__all__ = [
    "ApiMetrics",
    "RedisCalls",
    "SchedulerMetrics",
    "WorkerMetrics",
    "process_registry",
]

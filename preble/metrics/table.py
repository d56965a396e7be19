"""The table: every metric with its name, labels, meaning, and a histogram's buckets.

Names get the prefix `preble_`, counters the suffix `_total`; a unit stands in the name. What starts
with `pool_` describes the whole pool and reads the same on every api; the rest counts what one
process did. RQ's own, `rq_`, are named and labelled as rq-exporter has them.

No label ever holds what a client may choose freely. What an operator names, such as an instance,
may stand in one; what code of others says goes through `Bounded`.
"""

from collections.abc import Mapping
from typing import Final, Generic, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

PREFIX: Final = "preble_"

OTHER: Final = "other"
"""In the place of a label's value that is not known, or one too many."""

MOST_CHILDREN: Final = 100
"""Of one metric whose labels others fill."""

_REQUEST_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_CALL_S: Final = (0.0001, 0.00025, 0.0005, *_REQUEST_S[:-1])
_TOKEN_S: Final = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)
_JOB_S: Final = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0,
    3600.0,
)  # fmt: skip


class Metric(NamedTuple):
    """One row of the table."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = _REQUEST_S
    """Upper bounds in seconds, of a histogram."""
    prefix: str = PREFIX

    @property
    def full_name(self) -> str:
        """The name as Prometheus knows it, without a counter's suffix."""
        return self.prefix + self.name


# Counters and histograms of one api.
HTTP_REQUESTS: Final = Metric(
    "http_requests", "HTTP requests answered.", ("route", "method", "status")
)
HTTP_REQUEST_SECONDS: Final = Metric(
    "http_request_duration_seconds", "Time to answer an HTTP request.", ("route", "method")
)
JOBS_SUBMITTED: Final = Metric("jobs_submitted", "Jobs that the queue accepted.")
JOBS_REJECTED: Final = Metric(
    "jobs_rejected", "Submissions refused, a list counted once.", ("reason",)
)
PROMPT_TOKENS_SUBMITTED: Final = Metric(
    "prompt_tokens_submitted", "Prompt tokens of the accepted jobs."
)
TOKENIZE_SECONDS: Final = Metric(
    "tokenize_seconds", "Time one piece of text work took on its thread."
)
TEXT_CHARS: Final = Metric(
    "text_chars", "Characters of prompts, by whether their tokens were known or new.", ("tokens",)
)
BATCH_LINES: Final = Metric(
    "batch_lines", "Lines of batches that came to their end, by the file they are in.", ("file",)
)
BATCHES_ENDED: Final = Metric("batches_ended", "Batches that ended.", ("status",))
WEBHOOK_DELIVERIES: Final = Metric(
    "webhook_deliveries", "Attempts to deliver a webhook, by how each ended.", ("result",)
)

# Gauges of the pool.
POOL_UP: Final = Metric("pool_up", "1 if the queue answered this scrape, else 0.")
POOL_JOBS: Final = Metric("pool_jobs", "Jobs now in each state.", ("state",))
POOL_PROMPT_BYTES: Final = Metric(
    "pool_prompt_bytes", "Bytes of prompts now in the queue, and of what was sent with them."
)
POOL_DEAD_LETTER_BYTES: Final = Metric(
    "pool_dead_letter_bytes", "Bytes of prompts that failed jobs keep, to be run again."
)
POOL_ENDED_BYTES: Final = Metric(
    "pool_ended_bytes", "Bytes of jobs that have ended, with their results."
)
POOL_INSTANCES: Final = Metric("pool_instances", "Instances now registered.")
POOL_INSTANCE_STATE: Final = Metric(
    "pool_instance_state", "1 for the state in which an instance is, else 0.", ("name", "state")
)
POOL_INSTANCE_JOBS: Final = Metric(
    "pool_instance_jobs", "Jobs assigned to an instance, or running on it.", ("name", "state")
)

# What RQ's records say, as rq-exporter names it.
RQ_WORKERS: Final = Metric(
    "workers", "RQ's workers: one for each instance.", ("name", "state", "queues"), prefix="rq_"
)
RQ_SUCCESS: Final = Metric(
    "workers_success", "Jobs that an RQ worker completed.", ("name", "queues"), prefix="rq_"
)
RQ_FAILED: Final = Metric(
    "workers_failed", "Jobs that failed on an RQ worker.", ("name", "queues"), prefix="rq_"
)
RQ_WORKING_TIME: Final = Metric(
    "workers_working_time", "Seconds of an RQ worker's jobs together.", ("name", "queues"),
    prefix="rq_",
)  # fmt: skip
RQ_JOBS: Final = Metric(
    "jobs", "Jobs in RQ's queues; tenants of one priority are summed up.", ("queue", "status"),
    prefix="rq_",
)  # fmt: skip

# Counters of the pool, by their names in `PoolStats.totals`.
POOL_TOTALS: Final[Mapping[str, Metric]] = {
    "completed": Metric("pool_jobs_completed", "Jobs that completed."),
    "failed": Metric("pool_jobs_failed", "Jobs that failed for good."),
    "cancelled": Metric("pool_jobs_cancelled", "Jobs that were cancelled."),
    "expired": Metric("pool_jobs_expired", "Jobs that had not ended by their deadline."),
    "retried": Metric("pool_jobs_retried", "Failed jobs that were asked to run again."),
    "requeued": Metric("pool_jobs_requeued", "Jobs taken back from an instance."),
    "quarantined": Metric(
        "pool_jobs_quarantined", "Jobs whose workers died so often that they run alone."
    ),
    "rollbacks": Metric("pool_rollbacks", "Times that Redis lost what it had written."),
    "lost_write_ms": Metric(
        "pool_lost_write_milliseconds", "Time whose writes Redis lost, at most."
    ),
    "prompt_tokens": Metric("pool_prompt_tokens", "Prompt tokens of completed jobs."),
    "completion_tokens": Metric("pool_completion_tokens", "Output tokens of completed jobs."),
    "hit_tokens_available": Metric(
        "pool_hit_tokens_available", "Hit tokens on the instance that held the most."
    ),
    "hit_tokens_predicted": Metric(
        "pool_hit_tokens_predicted", "Hit tokens predicted when a worker claimed the job."
    ),
    "hit_tokens_delivered": Metric(
        "pool_hit_tokens_delivered", "Hit tokens that the engine reported."
    ),
}

# Of any process that asks Redis.
REDIS_CALLS: Final = Metric(
    "redis_call_seconds", "Round trips to Redis, by script or first command; xread waits for news.",
    ("call",), _CALL_S,
)  # fmt: skip

# Of one scheduler.
LEADING: Final = Metric("leading", "1 while this scheduler leads the pool, else 0.")
TERMS: Final = Metric("terms", "Times that this scheduler began to lead.")
DECISIONS: Final = Metric(
    "decisions", "Decisions on jobs, by the policy and its reason.", ("policy", "reason")
)
DECISION_SECONDS: Final = Metric(
    "decision_seconds", "Time to decide on all jobs seen at one look.", buckets=_CALL_S
)
JOBS_PEEKED: Final = Metric("jobs_peeked", "Waiting jobs seen, again at each look.")
EVENT_BATCHES: Final = Metric("event_batches_followed", "Batches of block events read.")
EVENT_LAG: Final = Metric(
    "event_lag_batches", "Batches of block events that had gathered when they were read last."
)
EVENT_GAPS: Final = Metric("event_gaps", "Times that batches of block events were missing.")
SNAPSHOTS_LOADED: Final = Metric("snapshots_loaded", "Snapshots of instances that were loaded.")
JOBS_REAPED: Final = Metric(
    "jobs_reaped", "Jobs taken back from the dead, or ended, by what became of them.", ("outcome",)
)
INSTANCES_GONE: Final = Metric("instances_gone", "Instances that did not renew their lease.")
PLACEABLE_INSTANCES: Final = Metric("placeable_instances", "Instances that jobs are placed on.")
LOAD_IMBALANCE: Final = Metric(
    "load_imbalance_ratio", "Predicted load of the busiest instance over the mean; 1 if all alike."
)
KNOWN_BLOCKS: Final = Metric("known_blocks", "Blocks that the prefix tree knows.")

# Of one worker.
JOB_QUEUE_WAIT: Final = Metric(
    "job_queue_wait_seconds", "From a job's submission to its start in the engine.", buckets=_JOB_S
)
JOB_TTFT: Final = Metric(
    "job_ttft_seconds", "From a job's start in the engine to its first token.", buckets=_JOB_S
)
JOB_TPOT: Final = Metric(
    "job_tpot_seconds", "Time of each output token after the first, a mean of each job.",
    buckets=_TOKEN_S,
)  # fmt: skip
JOB_ENGINE: Final = Metric("job_engine_seconds", "Time of a job in the engine.", buckets=_JOB_S)
JOB_E2E: Final = Metric("job_e2e_seconds", "From a job's submission to its result.", buckets=_JOB_S)
EXECUTIONS: Final = Metric(
    "executions_ended", "Executions of jobs, by how they ended.", ("result",)
)
WORKER_RUNNING: Final = Metric("worker_running_jobs", "Jobs now in the engine.")
WORKER_WAITING: Final = Metric("worker_waiting_jobs", "Jobs claimed that are not in it yet.")
WORKER_SLOTS: Final = Metric("worker_slots", "Jobs that the engine runs at once.")
WORKER_KV_USED: Final = Metric("worker_kv_used_tokens", "KV memory that the running jobs need.")
WORKER_KV_CAPACITY: Final = Metric("worker_kv_capacity_tokens", "KV memory of the engine.")
WORKER_PROMPT_TOKENS: Final = Metric("worker_prompt_tokens", "Prompt tokens of completed jobs.")
WORKER_PREDICTED: Final = Metric(
    "worker_hit_tokens_predicted", "Of these, hit tokens predicted as the jobs started."
)
WORKER_DELIVERED: Final = Metric(
    "worker_hit_tokens_delivered", "Of these, hit tokens that the engine reported."
)
BLOCK_EVENTS: Final = Metric("block_events_published", "Block events told to the scheduler.")
BLOCK_EVENT_BATCHES: Final = Metric("block_event_batches_published", "Batches of them.")
LEASES_LOST: Final = Metric("leases_lost", "Jobs stopped because their lease was lost.")
RESULTS_REFUSED: Final = Metric("results_refused", "Results that came too late to count.")
LIVES_ENDED: Final = Metric("lives_ended", "Lives of the worker, by why they ended.", ("reason",))


def all_rows() -> list[Metric]:
    """The whole table."""
    named = [each for each in globals().values() if isinstance(each, Metric)]
    return [*named, *POOL_TOTALS.values()]


def counter(metric: Metric, registry: CollectorRegistry | None) -> Counter:
    """A counter of the table, registered unless for nobody."""
    return Counter(metric.full_name, metric.help, metric.labels, registry=registry)


def gauge(metric: Metric, registry: CollectorRegistry | None) -> Gauge:
    """A gauge of the table, likewise."""
    return Gauge(metric.full_name, metric.help, metric.labels, registry=registry)


def histogram(metric: Metric, registry: CollectorRegistry | None) -> Histogram:
    """A histogram of the table, likewise; its values are seconds."""
    return Histogram(
        metric.full_name, metric.help, metric.labels, registry=registry, buckets=metric.buckets
    )


Child = TypeVar("Child", bound=MetricWrapperBase)


class Bounded(Generic[Child]):
    """The children of a metric whose labels others fill: as many as `MOST_CHILDREN`.

    Finding one here is also cheaper than by `labels`.
    """

    def __init__(self, metric: Child) -> None:
        self._metric = metric
        self._children: dict[tuple[str, ...], Child] = {}

    def child(self, *values: str) -> Child:
        """The child of these values; beyond the bound that of `other`."""
        found = self._children.get(values)
        if found is None:
            is_full = len(self._children) >= MOST_CHILDREN
            shown = (OTHER,) * len(values) if is_full else values
            found = self._metric.labels(*shown)
            if not is_full:
                self._children[values] = found
        return found

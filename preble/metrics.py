"""Every Prometheus metric of Preble in one table: name, type, unit, labels, meaning.

Names get the prefix `preble_`, counters the suffix `_total`; a unit stands in the name. No
label ever holds what a client may choose freely. What starts with `pool_` describes the
whole pool and reads the same on every api; the rest counts what one process did.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram

PREFIX: Final = "preble_"

_REQUEST_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metric(NamedTuple):
    """One row of the table."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name as Prometheus knows it, without a counter's suffix."""
        return PREFIX + self.name


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
POOL_PROMPT_BYTES: Final = Metric("pool_prompt_bytes", "Bytes of prompts now in the queue.")
POOL_DEAD_LETTER_BYTES: Final = Metric(
    "pool_dead_letter_bytes", "Bytes of prompts that failed jobs keep, to be run again."
)
POOL_ENDED_BYTES: Final = Metric(
    "pool_ended_bytes", "Bytes of jobs that have ended, with their results."
)
POOL_INSTANCES: Final = Metric("pool_instances", "Instances now registered.")

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


def counter(metric: Metric, registry: CollectorRegistry) -> Counter:
    """A counter of the table, registered."""
    return Counter(metric.full_name, metric.help, metric.labels, registry=registry)


def histogram(metric: Metric, registry: CollectorRegistry) -> Histogram:
    """A histogram of the table, registered; its values are seconds."""
    return Histogram(
        metric.full_name, metric.help, metric.labels, registry=registry, buckets=_REQUEST_S
    )


class ApiMetrics:
    """What one api counts.

    Args:
        registry: Where its page reads them.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.http_requests = counter(HTTP_REQUESTS, registry)
        self.http_request_seconds = histogram(HTTP_REQUEST_SECONDS, registry)
        self.jobs_submitted = counter(JOBS_SUBMITTED, registry)
        self.jobs_rejected = counter(JOBS_REJECTED, registry)
        self.prompt_tokens_submitted = counter(PROMPT_TOKENS_SUBMITTED, registry)
        self.tokenize_seconds = histogram(TOKENIZE_SECONDS, registry)
        self.text_chars = counter(TEXT_CHARS, registry)
        self.batch_lines = counter(BATCH_LINES, registry)
        self.batches_ended = counter(BATCHES_ENDED, registry)
        self.webhook_deliveries = counter(WEBHOOK_DELIVERIES, registry)

"""What one api counts."""

from prometheus_client import CollectorRegistry

from preble.metrics import table
from preble.metrics.table import counter, histogram


class ApiMetrics:
    """What one api counts.

    Args:
        registry: Where its page reads them.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.http_requests = counter(table.HTTP_REQUESTS, registry)
        self.http_request_seconds = histogram(table.HTTP_REQUEST_SECONDS, registry)
        self.jobs_submitted = counter(table.JOBS_SUBMITTED, registry)
        self.jobs_rejected = counter(table.JOBS_REJECTED, registry)
        self.prompt_tokens_submitted = counter(table.PROMPT_TOKENS_SUBMITTED, registry)
        self.tokenize_seconds = histogram(table.TOKENIZE_SECONDS, registry)
        self.text_chars = counter(table.TEXT_CHARS, registry)
        self.batch_lines = counter(table.BATCH_LINES, registry)
        self.batches_ended = counter(table.BATCHES_ENDED, registry)
        self.webhook_deliveries = counter(table.WEBHOOK_DELIVERIES, registry)

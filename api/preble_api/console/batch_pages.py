"""Batches as rows of a list, and as a page. Pure."""

import msgspec

from preble_api.batches.schemas import Batch

_ENDED: frozenset[str] = frozenset({"failed", "completed", "expired", "cancelled"})


class Progress(msgspec.Struct, frozen=True):
    """How far a batch has come."""

    completed: int
    failed: int
    left: int
    total: int
    completed_share: float
    """Of all lines, 0..1."""
    failed_share: float


class BatchRow(msgspec.Struct, frozen=True):
    """A batch, and what may be done about it."""

    batch: Batch
    progress: Progress
    has_ended: bool
    ended_at_s: int | None
    """Unix seconds."""
    cached_share: float | None
    """Of the prompt tokens of the lines that completed."""
    lines_per_s: float | None


def row_of(batch: Batch, now_s: float) -> BatchRow:
    """A batch as it stands.

    Args:
        batch: As the api tells of it.
        now_s: Unix seconds.
    """
    ended_at_s = batch.completed_at or batch.failed_at or batch.expired_at or batch.cancelled_at
    usage = batch.usage
    cached = usage.input_tokens_details.cached_tokens
    return BatchRow(
        batch, _progress(batch), batch.status in _ENDED, ended_at_s,
        cached_share=cached / usage.input_tokens if usage.input_tokens else None,
        lines_per_s=_lines_per_s(batch, ended_at_s or now_s),
    )  # fmt: skip


def _progress(batch: Batch) -> Progress:
    counts = batch.request_counts
    left = max(0, counts.total - counts.completed - counts.failed)
    whole = max(counts.total, 1)
    return Progress(
        counts.completed, counts.failed, left, counts.total, counts.completed / whole,
        counts.failed / whole,
    )  # fmt: skip


def _lines_per_s(batch: Batch, until_s: float) -> float | None:
    if batch.in_progress_at is None:
        return None
    done = batch.request_counts.completed + batch.request_counts.failed
    return done / max(until_s - batch.in_progress_at, 1.0)

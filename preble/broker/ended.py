"""What is kept of a job that has ended, in bytes, and the texts that it is kept as. Pure.

Of all jobs that have ended at most `max_ended_bytes` are kept; beyond, those that ended first are
forgotten, as if their results had expired. `ended_bytes` in `endings.lua` counts the same.
"""

import base64
import zlib
from collections.abc import Iterable
from typing import Final

import msgspec

from preble.messages import JobFailure, JobResult

ENDED_JOB_BYTES: Final = 2_000
"""Of one job in Redis, beside its texts: the fields of its record, and what it has in every list.
This and the next two are measured with MEMORY USAGE (`tests/conformance/test_ended_bytes.py`)."""

STREAM_BYTES: Final = 300
"""Of a stream in Redis, beside its entries."""

STREAM_PAGE_BYTES: Final = 4_096
"""That Redis sets aside for the entries of a stream, however few there are."""

DROPS_AT_AN_END: Final = 4
"""Most jobs that are dropped as one ends, so that no call takes long; REAP drops the rest."""


def ended_bytes(texts: Iterable[bytes], streams: Iterable[int]) -> int:
    """What is kept of a job.

    Args:
        texts: Its spec, its note and its webhook (twice: in its record, and as owed), its failure
            and its decision.
        streams: Bytes of the deltas of its log, if it has one, and of its end as RQ keeps it, if
            it ran.
    """
    return ENDED_JOB_BYTES + sum(map(len, texts)) + sum(map(_stream_bytes, streams))


def _stream_bytes(entries_bytes: int) -> int:
    return STREAM_BYTES + max(STREAM_PAGE_BYTES, entries_bytes)


def result_text(result: JobResult) -> bytes:
    """A result as RQ keeps return values."""
    return base64.b64encode(msgspec.json.encode(result))


def failure_text(failure: JobFailure) -> bytes:
    """A failure as RQ keeps exceptions."""
    return base64.b64encode(zlib.compress(f"{failure.code}: {failure.message}".encode()))

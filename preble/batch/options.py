"""What a user asks of a run."""

from typing import Literal

import msgspec

from preble.batch.formats import STDIO, Format

Existing = Literal["resume", "refuse", "overwrite"]
"""What becomes of an output that is there."""

MAX_INFLIGHT = 1_000


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where from, where to, and how."""

    source: str
    """A path, or `-`."""
    source_format: Format
    out: str
    """A path, or `-`."""
    out_format: Format
    errors: str = ""
    """Of lines that failed; by default `OUT.errors.jsonl`, or stderr if OUT is stdout."""
    existing: Existing = "resume"
    is_retrying_failed: bool = False
    max_errors: int | None = None
    """Failed lines after which to give up; None for any number."""
    max_inflight: int = MAX_INFLIGHT
    is_ordered: bool = False
    is_reordered: bool = True
    deadline_s: float = float("inf")
    """For the whole run."""

    @property
    def is_to_stdout(self) -> bool:
        """Whether nothing is kept, so that nothing can be resumed."""
        return self.out == STDIO

    @property
    def errors_path(self) -> str:
        """Of the error file; empty for stderr."""
        return self.errors or ("" if self.is_to_stdout else f"{self.out}.errors.jsonl")

"""One batch on disk: what was asked, and how it stands. All calls block.

    request.json    what was asked; never changes
    input           the input file, a second name of it: deleting the file harms no batch
    cancel          there once somebody wants it cancelled
    plan            the lines in the order in which they are run, once they are valid
    shifts/00000003/    one driver's time with the batch (`shift.py`)

How a batch stands is what its newest shift says.
"""

import contextlib
import shutil
from pathlib import Path
from typing import Final

import msgspec

from preble.clock import unix_s
from preble_api.batches.schemas import (
    Batch,
    BatchError,
    BatchErrors,
    BatchRequest,
    BatchUsage,
    RequestCounts,
    Status,
)
from preble_api.files.durable import sync_folder, write_new
from preble_api.files.layout import names_in

TERMINAL: Final = frozenset({"failed", "completed", "expired", "cancelled"})
_STATE: Final = "state.json"


class BatchRecord(msgspec.Struct, frozen=True):
    """What was asked, by whom, when; times are Unix seconds."""

    id: str
    tenant: str
    key_tenant: str | None
    """The tenant that its key is bound to, if it is to one."""
    model: str
    created_at_s: int
    expires_at_s: int
    request: BatchRequest


class BatchState(msgspec.Struct, frozen=True):
    """How a batch stands."""

    status: Status = "validating"
    request_counts: RequestCounts = RequestCounts()
    usage: BatchUsage = BatchUsage()
    errors: tuple[BatchError, ...] = ()
    ends_as: Status | None = None
    """What it becomes once its files are there."""
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelled_at: int | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended for good."""
        return self.status in TERMINAL


class BatchFolder:
    """A batch's folder.

    Args:
        path: Of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.input = path / "input"
        self.plan = path / "plan"
        self.shifts = path / "shifts"
        self._cancel = path / "cancel"

    def found(self, record: BatchRecord) -> None:
        """Fill a new folder, whose name is not the batch's yet. Raises: OSError."""
        write_new(self.path / "request.json", msgspec.json.encode(record))
        first = self.shift_folder(0)
        first.mkdir(parents=True)
        write_new(first / _STATE, msgspec.json.encode(BatchState()))
        sync_folder(first)
        sync_folder(self.shifts)

    def record(self) -> BatchRecord:
        """What was asked. Raises: FileNotFoundError if there is no such batch."""
        return msgspec.json.decode((self.path / "request.json").read_bytes(), type=BatchRecord)

    def newest_shift(self) -> int:
        """Number of the newest shift. Raises: FileNotFoundError."""
        numbers = [int(name) for name in names_in(self.shifts) if name.isdecimal()]
        if not numbers:
            raise FileNotFoundError(self.shifts)
        return max(numbers)

    def shift_folder(self, number: int) -> Path:
        """Where a shift is."""
        return self.shifts / f"{number:08d}"

    def state(self) -> BatchState:
        """How the batch stands. Raises: FileNotFoundError."""
        return read_state(self.shift_folder(self.newest_shift()))

    def ask_to_cancel(self) -> None:
        """Let whoever drives the batch know; once or more often."""
        with contextlib.suppress(FileExistsError):
            write_new(self._cancel, str(int(unix_s())).encode())
            sync_folder(self.path)

    def cancelling_at_s(self) -> int | None:
        """When it was asked to be cancelled, if it was."""
        with contextlib.suppress(FileNotFoundError):
            return int(self._cancel.read_bytes() or 0)
        return None

    def drop_work(self) -> bool:
        """Of a batch that has ended, keep what was asked and how it ended.

        Returns:
            False if it has not ended; nothing is dropped then.
        """
        number = self.newest_shift()
        newest = self.shift_folder(number)
        if not read_state(newest).is_terminal:
            return False
        # Not a newer one, whose driver comes late and needs to read how the batch has ended.
        old = [self.shift_folder(each) for each in range(number)]
        for each in (*old, *self.path.glob(".*")):
            shutil.rmtree(each, ignore_errors=True)
        for each in (self.input, self.plan, *newest.glob("*.jsonl")):
            each.unlink(missing_ok=True)
        return True

    def shown(self) -> Batch:
        """The batch as a client sees it. Raises: FileNotFoundError."""
        return shown(self.record(), self.state(), self.cancelling_at_s())


def read_state(shift: Path) -> BatchState:
    """How a batch stands in a shift. Raises: FileNotFoundError."""
    return msgspec.json.decode((shift / _STATE).read_bytes(), type=BatchState)


def state_path(shift: Path) -> Path:
    """Where that is."""
    return shift / _STATE


def shown(record: BatchRecord, state: BatchState, cancelling_at_s: int | None) -> Batch:
    """A batch as a client sees it."""
    is_cancelling = cancelling_at_s is not None and not state.is_terminal
    request = record.request
    return Batch(
        id=record.id,
        endpoint=request.endpoint,
        input_file_id=request.input_file_id,
        completion_window=request.completion_window,
        status="cancelling" if is_cancelling else state.status,
        created_at=record.created_at_s,
        expires_at=record.expires_at_s,
        model=record.model,
        request_counts=state.request_counts,
        usage=state.usage,
        priority=request.priority,
        order=request.order,
        errors=BatchErrors(list(state.errors)) if state.errors else None,
        output_file_id=state.output_file_id if state.is_terminal else None,
        error_file_id=state.error_file_id if state.is_terminal else None,
        in_progress_at=state.in_progress_at,
        finalizing_at=state.finalizing_at,
        completed_at=state.completed_at,
        failed_at=state.failed_at,
        expired_at=state.expired_at,
        cancelling_at=cancelling_at_s,
        cancelled_at=state.cancelled_at,
        metadata=request.metadata,
    )

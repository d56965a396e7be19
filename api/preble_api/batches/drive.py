"""A batch from wherever it stands to its end.

    validating ──▶ in_progress ──▶ finalizing ──▶ completed | expired | cancelled
         └──▶ failed                                 the files exist before the status says so

Each arrow is one durable replacement of the state; what happens between two may happen again.
"""

import contextlib
import logging
from itertools import islice
from typing import Final

from msgspec.structs import replace

from preble.clock import unix_s
from preble_api.batches.folder import BatchRecord, BatchState
from preble_api.batches.plan import LinePlace, Plan, save_plan
from preble_api.batches.run import LineRun
from preble_api.batches.schemas import BatchError, RequestCounts, Status
from preble_api.batches.shift import Kind, Shift
from preble_api.batches.tools import Tools
from preble_api.batches.validation import LineRules, Validation
from preble_api.batches.work import CANCELLED, EXPIRED, Work, why_stopped
from preble_api.files.layout import new_file_id
from preble_api.files.off_loop import in_thread
from preble_api.files.schemas import KEPT_S, FileObject
from preble_api.openai.endpoints import ENDPOINTS

_log = logging.getLogger(__name__)

_SLICE_LINES: Final = 500
"""Put in order in one step."""

_ENDS: Final[dict[str, Status]] = {EXPIRED.code: "expired", CANCELLED.code: "cancelled"}
_GIVEN_UP: Final = BatchError(
    "internal_error",
    "the batch could not be run, which is a bug in Preble: trying again did not help; the log of "
    "the api says where. What was answered until then is in its output file",
)


class Drive:
    """Drives one batch, in a shift of its own.

    Args:
        tools: Of this api.
        record: What was asked.
        shift: Of this driver.
    """

    def __init__(self, tools: Tools, record: BatchRecord, shift: Shift) -> None:
        self._tools = tools
        self._record = record
        self._shift = shift
        endpoint = ENDPOINTS[record.request.endpoint]
        self._rules = LineRules(record.request.endpoint, endpoint, record.model)
        self._work = Work(record, self._rules, endpoint, tools.intake, tools.rendering.token_texts)

    async def run(self) -> None:
        """Return when the batch has ended. Raises: OSError, as when the disk is full."""
        if self._shift.state.status == "validating":
            await self._validate()
        if self._shift.state.status == "in_progress":
            await self._run_lines()
        if self._shift.state.status == "finalizing":
            await self._make_files()

    async def give_up(self) -> None:
        """End the batch as failed; what was answered is kept. Raises: as `run`.

        If that cannot be kept either, the next call ends the batch without it.
        """
        state, errors = self._shift.state, (_GIVEN_UP,)
        if state.status == "in_progress":
            await self._finish("failed", total=state.request_counts.total, errors=errors)
            return await self._make_files()
        files = {"output_file_id": None, "error_file_id": None}
        return await self._change("failed", errors=errors, failed_at=_now(), **files)

    # Validating.

    async def _validate(self) -> None:
        validation = Validation(
            self._shift.folder.input, self._rules, max_line_bytes=self._tools.max_line_bytes
        )
        with contextlib.closing(validation):
            has_more = True
            while has_more:
                if stopped := await in_thread(why_stopped, self._shift.folder, self._record):
                    return await self._finish(_ENDS[stopped.code], total=0)
                has_more = await in_thread(validation.step)
            if validation.errors:
                errors = tuple(validation.errors)
                return await self._change("failed", errors=errors, failed_at=_now())
            places: list[LinePlace] = []
            ordered = validation.ordered(self._record.request.order)
            while some := await in_thread(lambda: list(islice(ordered, _SLICE_LINES))):
                places += some
        await in_thread(save_plan, self._shift.folder.plan, places)
        counts = RequestCounts(len(places))
        return await self._change("in_progress", request_counts=counts, in_progress_at=_now())

    # Running.

    async def _run_lines(self) -> None:
        plan = await in_thread(Plan.load, self._shift.folder.plan)
        stopped = await LineRun(self._tools, self._record, self._work, plan, self._shift).run()
        ends_as = _ENDS[stopped.code] if stopped else "completed"
        told = self._shift.tally.errors()
        if stopped is None and any(each.code == EXPIRED.code for each in told):
            ends_as = "expired"  # its last jobs heard of it before this driver did
        await self._finish(ends_as, total=len(plan))

    async def _finish(
        self, ends_as: Status, *, total: int, errors: tuple[BatchError, ...] = ()
    ) -> None:
        """The lines have come to their ends; the files get the ids under which they will be."""
        tally = self._shift.tally
        await self._change(
            "finalizing",
            ends_as=ends_as,
            request_counts=tally.counts(total),
            usage=tally.usage(),
            errors=(*errors, *tally.errors()),
            output_file_id=new_file_id() if tally.num_completed else None,
            error_file_id=new_file_id() if tally.num_failed else None,
            finalizing_at=_now(),
        )

    # Finalizing.

    async def _make_files(self) -> None:
        state = self._shift.state
        if state.output_file_id is not None:
            await in_thread(self._make_file, "output", state.output_file_id)
        if state.error_file_id is not None:
            await in_thread(self._make_file, "error", state.error_file_id)
        ends_as = state.ends_as or "completed"
        await self._change(ends_as, **{f"{ends_as}_at": _now()})

    def _make_file(self, kind: Kind, file_id: str) -> None:
        """Nothing, if the driver before did. Blocks."""
        files, tenant = self._tools.files, self._record.tenant
        draft = files.draft(tenant)
        try:
            for piece in self._shift.assembled(kind):
                draft.write(piece)
            expires_after, now = self._record.request.output_expires_after, _now()
            kept_s = expires_after.seconds if expires_after else KEPT_S
            name = f"{self._record.id}_{kind}.jsonl"
            meta = FileObject(file_id, draft.size_bytes, now, name, "batch_output", now + kept_s)
            files.commit(draft, meta, tenant)
        finally:
            draft.discard()

    async def _change(self, status: Status, **fields: object) -> None:
        await in_thread(self._shift.require_newest)
        state = replace(self._shift.state, status=status, **fields)
        await in_thread(self._shift.save, state)
        _log_change(self._record, state)
        if state.is_terminal:
            self._tools.metrics.batches_ended.labels(status).inc()


def _log_change(record: BatchRecord, state: BatchState) -> None:
    counts = state.request_counts
    _log.info(
        "batch %s of tenant %s is %s: %d lines, %d completed, %d failed",
        record.id, record.tenant, state.status, counts.total, counts.completed, counts.failed,
    )  # fmt: skip


def _now() -> int:
    return int(unix_s())

"""Writes the lines that have ended, many with one `fsync`, and says how the batch stands."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from preble.clock import Clock
from preble_api.batches.lines import read_written
from preble_api.batches.shift import KINDS, Kind, Shift
from preble_api.batches.work import Ended
from preble_api.files.off_loop import in_thread

PROGRESS_S: Final = 1.0
"""Between two reports of how far the batch is."""

DISK_PAUSE_S: Final = 5.0
"""Between two tries while the disk is full; the batch waits meanwhile and loses nothing."""

_MOST_LINES: Final = 1_000

_log = logging.getLogger(__name__)


class ResultWriter:
    """The one that writes into a shift while its lines run.

    Args:
        shift: This driver's own.
        total: Lines of the batch.
        clock: Tells when to report.
        on_written: Told of lines once they are on disk.
    """

    def __init__(
        self, shift: Shift, total: int, clock: Clock, on_written: Callable[[Sequence[Ended]], None]
    ) -> None:
        self._shift = shift
        self._total = total
        self._clock = clock
        self._on_written = on_written
        self._waiting: asyncio.Queue[Ended] = asyncio.Queue()
        self._reported_at_s = clock.now_s()

    def put(self, ended: Ended) -> None:
        """Let a line be written soon."""
        self._waiting.put_nowait(ended)

    async def written(self) -> None:
        """Return when all lines are on disk that were put."""
        await self._waiting.join()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            lines = [await self._waiting.get()]
            while len(lines) < _MOST_LINES and not self._waiting.empty():
                lines.append(self._waiting.get_nowait())
            await self._insist(lines)
            self._on_written(lines)
            for _ in lines:
                self._waiting.task_done()
            await self._report()

    async def _insist(self, lines: Sequence[Ended]) -> None:
        for kind in KINDS:
            chosen = [each.line for each in lines if each.kind == kind]
            while not await in_thread(self._try_to_write, kind, chosen):  # noqa: ASYNC110  asks the disk
                await asyncio.sleep(DISK_PAUSE_S)

    def _try_to_write(self, kind: Kind, lines: Sequence[bytes]) -> bool:
        try:
            self._shift.append(kind, b"".join(lines))
        except OSError as error:
            _log.warning("results of a batch cannot be written: %s; trying again", error)
            return False
        for line in lines:
            self._shift.tally.add(read_written(line))
        return True

    async def _report(self) -> None:
        now_s = self._clock.now_s()
        if now_s - self._reported_at_s >= PROGRESS_S:
            self._reported_at_s = now_s
            await in_thread(self._save_progress)

    def _save_progress(self) -> None:
        tally, state = self._shift.tally, self._shift.state
        now = replace(
            state, request_counts=tally.counts(self._total), usage=tally.usage(),
            errors=tally.errors(),
        )  # fmt: skip
        try:
            self._shift.save(now)
        except OSError as error:
            _log.warning("progress of a batch cannot be written: %s", error)

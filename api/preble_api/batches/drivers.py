"""Which batches this api drives: those that it has a place for and gets custody of.

Every api looks for batches that nobody drives. Custody spares work and no more: that two drive a
batch at once, for a moment, is made harmless by their shifts.
"""

import asyncio
import contextlib
import logging
import secrets
from typing import Final

from preble.broker.insisting import insist
from preble.errors import BrokerError, BrokerUnavailable
from preble.messages import JobId, JobState, Webhook
from preble_api.batches.drive import Drive
from preble_api.batches.folder import BatchFolder
from preble_api.batches.places import Places
from preble_api.batches.shift import Replaced, Shift, open_shift
from preble_api.batches.store import BatchStore
from preble_api.batches.tools import Tools
from preble_api.batches.troubles import Troubles
from preble_api.errors import HttpError
from preble_api.files.layout import OpenBatch
from preble_api.files.off_loop import in_thread

CUSTODY_S: Final = 15.0
"""After which a batch is taken over whose api has died."""

LOOK_S: Final = 2.0
"""Between two looks for batches that nobody drives."""

_log = logging.getLogger(__name__)


class Drivers:
    """The drivers of one api.

    Args:
        tools: Of this api.
        store: Where batches are.
    """

    def __init__(self, tools: Tools, store: BatchStore) -> None:
        self._tools = tools
        self._store = store
        self._holder = secrets.token_hex(16)
        self._places = Places()
        self._troubles = Troubles(tools.clock)
        self._news = asyncio.Event()

    def look_again(self) -> None:
        """There is a new batch."""
        self._news.set()

    async def run(self) -> None:
        """Drive batches until cancelled; others then take over what is not at its end."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                await self._look(tasks)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._news.wait()

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        """Drive what there is a place for, and end what there is none for but is to end."""
        waiting: list[OpenBatch] = []
        for batch in self._places.in_turn(await self._ready()):
            if self._places.has_for(batch.tenant):
                await self._take(tasks, batch)
            else:
                waiting.append(batch)
        for batch in await in_thread(self._store.stopped, waiting):
            if self._places.has_to_end():
                await self._take(tasks, batch, is_ending=True)

    async def _ready(self) -> list[OpenBatch]:
        """Batches that have not ended and do not rest, the oldest first."""
        try:
            batches = await in_thread(self._store.open_batches)
        except OSError:
            _log.exception("batches cannot be looked for; trying again")
            return []
        self._troubles.forget_all_but({each.batch_id for each in batches})
        return [each for each in batches if not self._troubles.rests(each.batch_id)]

    async def _take(
        self, tasks: asyncio.TaskGroup, batch: OpenBatch, *, is_ending: bool = False
    ) -> None:
        if await self._renew(batch.batch_id):
            self._places.take(batch, is_ending=is_ending)
            tasks.create_task(self._drive(batch))

    async def _drive(self, batch: OpenBatch) -> None:
        """Drive a batch as long as it is in this api's custody."""
        try:
            await self._in_custody(batch)
        except* (Replaced, FileNotFoundError) as errors:
            told = "batch %s is another api's now, or lacks a file: %s"
            _log.warning(told, batch.batch_id, errors.exceptions[0])
            is_missing = errors.subgroup(FileNotFoundError) is not None
            self._troubles.note(batch.batch_id, is_bug=is_missing)
        except* Exception as errors:  # noqa: BLE001  one batch must not end the others; it is tried again
            _log.exception("batch %s could not be driven; it is tried again", batch.batch_id)
            self._troubles.note(batch.batch_id, is_bug=_has_bug(errors))
        finally:
            self._places.give_back(batch)
            with contextlib.suppress(BrokerError):
                await self._tools.broker.custody.give_up(batch.batch_id, self._holder)
            self.look_again()

    async def _in_custody(self, batch: OpenBatch) -> None:
        driving = asyncio.ensure_future(self._to_its_end(batch))
        keeping = asyncio.ensure_future(self._keep(batch.batch_id))
        try:
            await asyncio.wait({driving, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(driving, keeping)

    async def _to_its_end(self, batch: OpenBatch) -> None:
        tenant, batch_id = batch
        folder = self._store.folder(tenant, batch_id)
        with contextlib.ExitStack() as opened:
            try:
                shift = await in_thread(_shift_of, folder, opened)
            except FileNotFoundError:
                return await in_thread(self._store.forget, tenant, batch_id)
            if shift is not None:
                record = await in_thread(folder.record)
                drive = Drive(self._tools, record, shift)
                await (drive.give_up() if self._troubles.is_hopeless(batch_id) else drive.run())
        await self._owe_webhook(folder)
        return await in_thread(self._store.close, tenant, batch_id)

    async def _owe_webhook(self, folder: BatchFolder) -> None:
        """Of a batch that has ended; before it is closed, for nobody looks for it afterwards."""
        record, state = await in_thread(folder.record), await in_thread(folder.state)
        asked = record.request.webhook
        if asked is None or not state.is_terminal:
            return
        webhook, ended = Webhook(asked.url, "batch"), JobState(state.status)
        owe = self._tools.broker.webhooks.owe
        await insist(lambda: owe(JobId(record.id), webhook, ended, tenant=record.tenant))

    async def _keep(self, batch_id: str) -> None:
        """Renew custody until it is lost."""
        while await self._renew(batch_id, is_had=True):  # noqa: ASYNC110  asks Redis
            await asyncio.sleep(CUSTODY_S / 3)
        _log.warning("another api drives batch %s now", batch_id)

    async def _renew(self, batch_id: str, *, is_had: bool = False) -> bool:
        """Whether it is in this api's custody; while the queue is away, whether it was."""
        try:
            return await self._tools.broker.custody.take(batch_id, self._holder, ttl_s=CUSTODY_S)
        except BrokerUnavailable:
            return is_had


def _shift_of(folder: BatchFolder, opened: contextlib.ExitStack) -> Shift | None:
    """A new shift; None if the batch has ended, or another driver was quicker."""
    shift = None if folder.state().is_terminal else open_shift(folder)
    if shift is not None:
        # Here, for nobody may be waiting for it any more.
        opened.callback(shift.close)
    return shift


def _has_bug(errors: BaseExceptionGroup[Exception]) -> bool:
    """Whether one tells neither of the disk nor of the queue, which are waited for."""
    return errors.split((OSError, BrokerError, HttpError))[1] is not None


async def _end(*futures: asyncio.Future[None]) -> None:
    """Cancel what still runs. Raises: what one of them raised."""
    for each in futures:
        each.cancel()
    for outcome in await asyncio.gather(*futures, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome

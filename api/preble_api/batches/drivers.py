"""Which batches this api drives: those that it gets custody of, until they end.

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
from preble_api.batches.shift import Replaced, Shift, open_shift
from preble_api.batches.store import BatchStore
from preble_api.batches.tools import Tools
from preble_api.files.off_loop import in_thread

CUSTODY_S: Final = 15.0
"""After which a batch is taken over whose api has died."""

LOOK_S: Final = 2.0
"""Between two looks for batches that nobody drives."""

MOST_DRIVEN: Final = 16
"""Batches that one api drives at once; the others wait for it or another."""

_REST_S: Final = 10.0
"""After an error, before the batch is tried again."""

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
        self._driven: set[str] = set()
        self._news = asyncio.Event()

    def look_again(self) -> None:
        """There is a new batch."""
        self._news.set()

    async def run(self) -> None:
        """Drive batches until cancelled; others then take over what is not at its end."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                for tenant, batch_id in await self._open_batches():
                    if await self._take(batch_id):
                        self._driven.add(batch_id)
                        tasks.create_task(self._drive(tenant, batch_id))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._news.wait()

    async def _open_batches(self) -> list[tuple[str, str]]:
        try:
            return await in_thread(self._store.open_batches)
        except OSError:
            _log.exception("batches cannot be looked for; trying again")
            return []

    async def _take(self, batch_id: str) -> bool:
        if batch_id in self._driven or len(self._driven) >= MOST_DRIVEN:
            return False
        return await self._renew(batch_id)

    async def _drive(self, tenant: str, batch_id: str) -> None:
        """Drive a batch as long as it is in this api's custody."""
        try:
            driving = asyncio.ensure_future(self._to_its_end(tenant, batch_id))
            keeping = asyncio.ensure_future(self._keep(batch_id))
            try:
                await asyncio.wait({driving, keeping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _end(driving, keeping)
        except* (Replaced, FileNotFoundError) as errors:
            _log.warning("batch %s is another api's now: %s", batch_id, errors.exceptions[0])
        except* Exception:  # noqa: BLE001  one batch must not end the others; it is tried again
            _log.exception("batch %s could not be driven; it is tried again", batch_id)
            await asyncio.sleep(_REST_S)
        finally:
            self._driven.discard(batch_id)
            with contextlib.suppress(BrokerError):
                await self._tools.broker.custody.give_up(batch_id, self._holder)
            self.look_again()

    async def _to_its_end(self, tenant: str, batch_id: str) -> None:
        folder = self._store.folder(tenant, batch_id)
        with contextlib.ExitStack() as opened:
            try:
                shift = await in_thread(_shift_of, folder, opened)
            except FileNotFoundError:
                return await in_thread(self._store.forget, tenant, batch_id)
            if shift is not None:
                record = await in_thread(folder.record)
                await Drive(self._tools, record, shift).run()
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


async def _end(*futures: asyncio.Future[None]) -> None:
    """Cancel what still runs. Raises: what one of them raised."""
    for each in futures:
        each.cancel()
    for outcome in await asyncio.gather(*futures, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome

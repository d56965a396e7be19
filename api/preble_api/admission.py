"""The last step of a submission: ADMIT, with whatever else waits for it.

    request ─┐                     ┌─▶ broker.admit([batch, batch, …]) ─┐
    request ─┼─▶ waiting batches ──┘      one call at a time            ├─▶ each its outcome
    request ─┘                                                          ┘

A request that finds no call under way starts one at once; those that come meanwhile share
the next. A lone request so waits for nobody, and under load one round trip serves many.
Batches that fill a call alone stand in a line of their own: their prompts are sent ahead, in many
round trips, which small ones need not wait for.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from preble.broker import Broker
from preble.broker.bounds import Allowance
from preble.errors import QueueFull
from preble.messages import Submission

CALL_BYTES: Final = 1024 * 1024
"""Bytes of prompts in one call, beyond its first batch: Redis serves nobody else meanwhile."""

WAITING_JOBS: Final = 20_000
"""Jobs that may wait here; beyond them clients are told to come back."""

_RETRY_AFTER_S: Final = 1.0


class _Entry:
    """One request's batch and its outcome to come."""

    def __init__(self, batch: Sequence[Submission]) -> None:
        self.batch = batch
        self.bytes = sum(len(job.prompt) for job in batch)
        self.outcome: asyncio.Future[Allowance | None] = asyncio.get_running_loop().create_future()

    def settle(self, admitted: Exception | Allowance | None) -> None:
        if self.outcome.done():
            return  # the request was cancelled meanwhile
        if isinstance(admitted, Exception):
            self.outcome.set_exception(admitted)
        else:
            self.outcome.set_result(admitted)


class Admission:
    """Admits batches, several in a call."""

    def __init__(self, broker: Broker) -> None:
        self._small, self._large = _Line(broker), _Line(broker)

    async def admit(self, batch: Sequence[Submission]) -> Allowance | None:
        """Return when the whole batch is in the queue; otherwise none of it is.

        Returns:
            What its tenant may still submit, where tenants are bound.

        Raises:
            QueueFull: If a bound of the pool is reached, or too much waits here.
            BrokerUnavailable: If the queue did not answer.
        """
        waiting_jobs = self._small.waiting_jobs + self._large.waiting_jobs
        if waiting_jobs + len(batch) > WAITING_JOBS:
            msg = f"more than {WAITING_JOBS} jobs wait to be written to the queue"
            raise QueueFull(msg, retry_after_s=_RETRY_AFTER_S)
        entry = _Entry(batch)
        (self._large if entry.bytes > CALL_BYTES else self._small).append(entry)
        return await entry.outcome


class _Line:
    """Batches one after another, one call at a time."""

    def __init__(self, broker: Broker) -> None:
        self.waiting_jobs = 0
        self._broker = broker
        self._waiting: deque[_Entry] = deque()
        self._calling: asyncio.Task[None] | None = None

    def append(self, entry: _Entry) -> None:
        self._waiting.append(entry)
        self.waiting_jobs += len(entry.batch)
        if self._calling is None:
            self._calling = asyncio.create_task(self._call())

    async def _call(self) -> None:
        """Admit until nothing waits."""
        while self._waiting:
            entries = self._take()
            try:
                outcomes: Sequence[Exception | Allowance | None]
                outcomes = await self._broker.admit([entry.batch for entry in entries])
            except Exception as error:  # noqa: BLE001  each of the requests fails with it
                outcomes = [error] * len(entries)
            for entry, outcome in zip(entries, outcomes, strict=True):
                entry.settle(outcome)
        self._calling = None

    def _take(self) -> list[_Entry]:
        """The first batches that fit in one call, at least one."""
        entries: list[_Entry] = []
        room = CALL_BYTES
        while self._waiting and room > 0:
            entry = self._waiting.popleft()
            self.waiting_jobs -= len(entry.batch)
            room -= entry.bytes
            entries.append(entry)
        return entries

"""An instance's block events on their way from its engine to the broker.

    engine ─page events─▶ mapper ─block events─▶ pending ─batches 1, 2, 3, …─▶ broker

Reading never waits for the broker. Whatever has gathered while one publish is under way, or
while the broker is away, goes out as one batch next; and where more has gathered than the
cache can hold, what is held now is said instead. So nothing is lost or reordered, and memory
is bounded by the KV cache.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from preble.broker.bulletin import Bulletin
from preble.broker.insisting import insist
from preble.clock import Clock
from preble.messages import (
    AllBlocksCleared,
    BlockEvent,
    EventBatch,
    InstanceRecord,
    Snapshot,
)
from preble.metrics import WorkerMetrics
from preble_workers.block_mapper import BlockMapper
from preble_workers.engine import Engine, PageEvent

_SNAPSHOT_EVERY_BATCHES: Final = 256
_SNAPSHOT_EVERY_S: Final = 10.0
_MAX_PENDING_EVENTS: Final = 4096
_COLLECT_TOGETHER: Final = 64


class PrefixPublisher:
    """Publishes what one instance holds, in one life of its worker.

    Args:
        bulletin: Where to.
        engine: Whose events; this is their one reader.
        mapper: What it holds from an earlier life is published first.
        record: Names the instance and its epoch.
        clock: Tells when a snapshot is due.
        metrics: Where batches are counted.
        snapshot_every_batches: A snapshot is due after so many batches,
        snapshot_every_s: or after so many seconds, with the next batch.
        max_pending_events: Block events that wait for the broker at most, beside those that
            say what is held.
    """

    def __init__(
        self,
        *,
        bulletin: Bulletin,
        engine: Engine,
        mapper: BlockMapper,
        record: InstanceRecord,
        clock: Clock,
        metrics: WorkerMetrics,
        snapshot_every_batches: int = _SNAPSHOT_EVERY_BATCHES,
        snapshot_every_s: float = _SNAPSHOT_EVERY_S,
        max_pending_events: int = _MAX_PENDING_EVENTS,
    ) -> None:
        self._bulletin = bulletin
        self._engine = engine
        self._mapper = mapper
        self._record = record
        self._clock = clock
        self._metrics = metrics
        self._snapshot_every_batches = snapshot_every_batches
        self._snapshot_every_s = snapshot_every_s
        self._max_pending_events = max_pending_events
        self._pending: list[BlockEvent] = []
        self._num_restated = 0
        self._news = asyncio.Event()
        self._is_read_out = False
        self._has_begun = asyncio.Event()
        self._seq = 0
        self._snapshot_seq = 0
        self._snapshot_at_s = clock.now_s()

    async def run(self) -> None:
        """Publish until the engine closes and all it said is published.

        Raises:
            BrokerError: Any but BrokerUnavailable, which is waited out.
            EventsLost: If the engine's events have a gap.
        """
        self._pending += self._mapper.held_runs()
        self._num_restated = len(self._pending)
        reader = asyncio.create_task(self._read(), name="prefix-reader")
        try:
            while await self._has_pending():
                await self._publish_pending()
        finally:
            reader.cancel()
            await asyncio.wait({reader})
        reader.result()

    async def begun(self) -> None:
        """Wait until the mapper knows what the engine held at the start."""
        await self._has_begun.wait()

    async def _read(self) -> None:
        try:
            async with aclosing(self._engine.page_events()) as batches:
                async for events in batches:
                    await self._collect(events)
                    self._has_begun.set()
        finally:
            self._is_read_out = True
            self._news.set()

    async def _collect(self, events: Sequence[PageEvent]) -> None:
        """Leases are renewed beside it, so a long replay must not hold up the loop."""
        for start in range(0, len(events), _COLLECT_TOGETHER):
            if start:
                await asyncio.sleep(0)
            some = events[start : start + _COLLECT_TOGETHER]
            self._pending += [mapped for event in some if (mapped := self._mapper.apply(event))]
            self._bound_pending()

    def _bound_pending(self) -> None:
        if len(self._pending) - self._num_restated > self._max_pending_events:
            self._pending = [AllBlocksCleared(), *self._mapper.held_runs()]
            self._num_restated = len(self._pending)
        if self._pending:
            self._news.set()

    async def _has_pending(self) -> bool:
        """Wait for something to publish; False once there will be nothing more."""
        while not self._pending and not self._is_read_out:
            self._news.clear()
            await self._news.wait()
        return bool(self._pending)

    async def _publish_pending(self) -> None:
        """Publish all that waits as one batch, and then a snapshot if one is due.

        The snapshot is taken with the batch, before anything is awaited: it must be the state
        after exactly this batch, while the reader goes on.
        """
        events, self._pending, self._num_restated = tuple(self._pending), [], 0
        self._seq += 1
        batch = EventBatch(self._record.instance_id, self._record.epoch, self._seq, events)
        snapshot = self._take_snapshot() if self._is_snapshot_due() else None
        await insist(lambda: self._bulletin.publish([batch]))
        self._metrics.published(len(events))
        if snapshot is not None:
            await insist(lambda: self._bulletin.save_snapshot(snapshot))

    def _is_snapshot_due(self) -> bool:
        return (
            self._seq - self._snapshot_seq >= self._snapshot_every_batches
            or self._clock.now_s() - self._snapshot_at_s >= self._snapshot_every_s
        )

    def _take_snapshot(self) -> Snapshot:
        self._snapshot_seq = self._seq
        self._snapshot_at_s = self._clock.now_s()
        runs = tuple(self._mapper.held_runs())
        return Snapshot(self._record.instance_id, self._record.epoch, self._seq, runs)

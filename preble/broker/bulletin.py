"""The bulletin: what workers tell of what instances hold, and what a scheduler learns of a pool.

    worker ─ publish ───────▶ a stream ───┐ of each    ┌─▶ load_pool   all of it, once
           └ save_snapshot ─▶ a snapshot ─┤ instance ──┤
    broker ─────────────────▶ signals ────┘ of a pool  └─▶ follow      what happens then

Nothing here moves a job.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from preble.messages import EventBatch, InstanceId, InstanceRecord, PlacedJob, Signal, Snapshot


class Cursor(msgspec.Struct, frozen=True):
    """How far a reader has followed the pool's signals and each instance's block events."""

    signals: str
    events: Mapping[InstanceId, str]


class News(msgspec.Struct, frozen=True):
    """What happened since a cursor, and the cursor after it."""

    cursor: Cursor
    signals: tuple[Signal, ...]
    batches: tuple[EventBatch, ...]


class PoolView(msgspec.Struct, frozen=True):
    """Everything a scheduler needs to start warm, and the cursor to follow from."""

    instances: tuple[InstanceRecord, ...]
    snapshots: tuple[Snapshot, ...]
    placed: tuple[PlacedJob, ...]
    cursor: Cursor


class Bulletin(Protocol):
    """The bulletin of one pool. Every call may raise BrokerUnavailable, and says so here once."""

    async def publish(self, batches: Sequence[EventBatch]) -> None:
        """Append block events to their instances' streams."""
        ...

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Store what an instance holds; followers that missed events reload it.

        Call it after `publish` of the batch that it names.
        """
        ...

    async def load_snapshot(self, instance_id: InstanceId) -> tuple[Snapshot | None, str]:
        """An instance's newest snapshot and the event cursor that follows it."""
        ...

    async def load_pool(self) -> PoolView:
        """The whole state a new leader needs; of drained instances nothing."""
        ...

    async def follow(self, cursor: Cursor, *, timeout_s: float) -> News:
        """What happened since the cursor; waits up to the timeout for something to happen."""
        ...

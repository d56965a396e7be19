"""What a scheduler sees of a pool: all of it once, then what happens; and jobs seen together."""

from collections.abc import Iterable, Mapping

import msgspec

from preble.messages import (
    EventBatch,
    InstanceId,
    InstanceRecord,
    JobView,
    PlacedJob,
    Signal,
    Snapshot,
)


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


def without_positions(views: Iterable[JobView | None]) -> list[JobView | None]:
    """Jobs whose places in their queues nobody asks for."""
    return [view and msgspec.structs.replace(view, position=None) for view in views]

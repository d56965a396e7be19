"""Block events on their way to the broker: order, numbering, retries, bounds."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from preble.block_keys import block_keys, root_key
from preble.broker.bulletin import Cursor, News, PoolView
from preble.clock import ManualClock
from preble.errors import BrokerUnavailable, EventsLost, NotLeader
from preble.messages import (
    AllBlocksCleared,
    BlocksRemoved,
    BlocksStored,
    EventBatch,
    InstanceId,
    InstanceRecord,
    PoolRecord,
    Snapshot,
    pack_tokens,
    unpack_keys,
)
from preble.metrics import WorkerMetrics
from preble_workers.block_mapper import BlockMapper
from preble_workers.engine import AllPagesCleared, PageEvent, PagesRemoved, PagesStored
from preble_workers.noop_engine import NoopEngine
from preble_workers.prefix_publisher import PrefixPublisher

pytestmark = pytest.mark.anyio

POOL = PoolRecord("m", "f", vocab_size=100, context_length=512, block_size=4, page_size=4)
RECORD = InstanceRecord(InstanceId("gpu0"), "epoch-1", "noop", 4, 1000, "none")


def key_of(page: int) -> int:
    """Page `n` is a prompt of its own, whose four tokens are all `n`."""
    tokens = pack_tokens([page] * 4)
    return unpack_keys(block_keys(tokens, root=root_key(POOL, ""), block_size=4))[0]


def stored(*pages: int) -> list[PageEvent]:
    return [PagesStored([page], None, [page] * 4) for page in pages]


def keys_in(runs: Sequence[BlocksStored]) -> list[int]:
    return [key for run in runs for key in unpack_keys(run.block_keys)]


class ScriptedEngine(NoopEngine):
    """Yields the batches that a test feeds, until it is told to end."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[Sequence[PageEvent] | None] = asyncio.Queue()

    async def page_events(self) -> AsyncGenerator[list[PageEvent]]:
        while (batch := await self.batches.get()) is not None:
            yield list(batch)
            self.batches.task_done()
        self.batches.task_done()

    def feed(self, *batches: Sequence[PageEvent] | None) -> None:
        for batch in batches:
            self.batches.put_nowait(batch)


class FlakyBulletin:
    """Keeps what is published; is away for the next `failures` calls."""

    def __init__(self) -> None:
        self.batches: list[EventBatch] = []
        self.snapshots: list[Snapshot] = []
        self.failures: list[Exception] = []
        self.published = asyncio.Event()
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.called = asyncio.Event()

    async def publish(self, batches: Sequence[EventBatch]) -> None:
        await self._fail_or_pass()
        self.batches += batches
        self.published.set()

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        await self._fail_or_pass()
        self.snapshots.append(snapshot)

    async def load_snapshot(self, instance_id: InstanceId) -> tuple[Snapshot | None, str]:
        raise NotImplementedError

    async def load_pool(self) -> PoolView:
        raise NotImplementedError

    async def follow(self, cursor: Cursor, *, timeout_s: float) -> News:
        raise NotImplementedError

    async def _fail_or_pass(self) -> None:
        self.called.set()
        await self.is_open.wait()
        if self.failures:
            raise self.failures.pop(0)

    @property
    def events(self) -> list[object]:
        return [event for batch in self.batches for event in batch.events]

    def replayed(self) -> list[int]:
        """What a follower believes after all batches."""
        held: dict[int, None] = {}
        for event in self.events:
            match event:
                case BlocksStored():
                    held |= dict.fromkeys(unpack_keys(event.block_keys))
                case BlocksRemoved():
                    for key in unpack_keys(event.block_keys):
                        del held[key]
                case _:
                    held.clear()
        return list(held)


class Bench:
    """A publisher between a scripted engine and a flaky bulletin."""

    def __init__(self, **options: float) -> None:
        self.engine = ScriptedEngine()
        self.bulletin = FlakyBulletin()
        self.mapper = BlockMapper(POOL, page_size=4)
        self.clock = ManualClock()
        self.publisher = self.make_publisher(**options)

    def make_publisher(
        self,
        *,
        snapshot_every_batches: float = 256,
        snapshot_every_s: float = 10.0,
        max_pending_events: float = 100,
    ) -> PrefixPublisher:
        return PrefixPublisher(
            bulletin=self.bulletin,
            engine=self.engine,
            mapper=self.mapper,
            record=RECORD,
            clock=self.clock,
            metrics=WorkerMetrics(None),
            snapshot_every_batches=int(snapshot_every_batches),
            snapshot_every_s=snapshot_every_s,
            max_pending_events=int(max_pending_events),
        )

    async def run(self, *batches: Sequence[PageEvent]) -> None:
        """Feed all at once and run to the end."""
        self.engine.feed(*batches, None)
        await self.publisher.run()

    async def run_one_by_one(self, *batches: Sequence[PageEvent]) -> None:
        """Feed each batch once the one before it has been published."""
        task = asyncio.create_task(self.publisher.run())
        for batch in batches:
            self.bulletin.published.clear()
            self.engine.feed(batch)
            await self.bulletin.published.wait()
        self.engine.feed(None)
        await task


async def test_events_are_published_in_order_and_numbered_from_one() -> None:
    bench = Bench()
    await bench.run_one_by_one(stored(1), stored(2), [PagesRemoved([1])])
    assert [(batch.epoch, batch.seq) for batch in bench.bulletin.batches] == [
        ("epoch-1", 1),
        ("epoch-1", 2),
        ("epoch-1", 3),
    ]
    assert bench.bulletin.replayed() == [key_of(2)]


async def test_what_waits_goes_out_together() -> None:
    bench = Bench()
    await bench.run(stored(1), stored(2, 3), [PagesRemoved([3])], stored(4))
    (batch,) = bench.bulletin.batches
    assert len(batch.events) == 5
    assert bench.bulletin.replayed() == [key_of(1), key_of(2), key_of(4)]


async def test_pages_without_a_block_publish_nothing() -> None:
    bench = Bench()
    await bench.run([PagesRemoved([9])])
    assert not bench.bulletin.called.is_set()


async def test_an_absent_broker_is_waited_for_without_loss_or_reordering() -> None:
    bench = Bench()
    bench.bulletin.failures = [BrokerUnavailable("away")] * 3
    await bench.run_one_by_one(stored(1), stored(2))
    assert [batch.seq for batch in bench.bulletin.batches] == [1, 2]
    assert bench.bulletin.replayed() == [key_of(1), key_of(2)]


async def test_reading_goes_on_while_the_broker_is_away() -> None:
    """The first batch is stuck in publish; meanwhile three more are read and coalesce."""
    bench = Bench()
    bench.bulletin.is_open.clear()
    task = asyncio.create_task(bench.publisher.run())
    bench.engine.feed(stored(1))
    await bench.bulletin.called.wait()
    bench.engine.feed(stored(2), stored(3), stored(4), None)
    await bench.engine.batches.join()
    bench.bulletin.is_open.set()
    await task
    assert [len(batch.events) for batch in bench.bulletin.batches] == [1, 3]


async def test_too_many_waiting_events_become_what_is_held() -> None:
    bench = Bench(max_pending_events=3)
    await bench.run(stored(1, 2), [PagesRemoved([1])], stored(3, 4), stored(5))
    assert bench.bulletin.events[0] == AllBlocksCleared()
    assert bench.bulletin.replayed() == [key_of(page) for page in (2, 3, 4, 5)]


async def test_what_is_held_is_not_said_anew_with_each_event() -> None:
    """Saying it takes more events than may wait: they are no reason to say it again."""
    bench = Bench(max_pending_events=3)
    await bench.run(stored(1, 2, 3, 4), stored(5), [PagesRemoved([5])], stored(6))
    said_anew, *after = bench.bulletin.events[4:]
    assert isinstance(said_anew, BlocksStored)
    assert bench.bulletin.events[0] == AllBlocksCleared()
    assert [type(event) for event in after] == [BlocksStored, BlocksRemoved, BlocksStored]
    assert bench.bulletin.replayed() == [key_of(page) for page in (1, 2, 3, 4, 6)]


async def test_a_chain_is_said_as_one_run_and_a_branch_names_its_parent() -> None:
    bench = Bench(max_pending_events=1)
    chain = [PagesStored([page], page - 1 or None, [page] * 4) for page in (1, 2, 3)]
    await bench.run(chain, [PagesStored([9], 1, [9] * 4)])
    _, run, branch = bench.bulletin.events
    assert isinstance(run, BlocksStored)
    assert isinstance(branch, BlocksStored)
    first, *others = unpack_keys(run.block_keys)
    assert (run.parent_key, first, len(others)) == (None, key_of(1), 2)
    assert branch.parent_key == first


async def test_a_snapshot_follows_every_so_many_batches() -> None:
    bench = Bench(snapshot_every_batches=2)
    await bench.run_one_by_one(stored(1), stored(2), stored(3), stored(4), stored(5))
    assert [
        (snapshot.seq, len(keys_in(snapshot.runs))) for snapshot in bench.bulletin.snapshots
    ] == [
        (2, 2),
        (4, 4),
    ]


async def test_a_snapshot_follows_a_change_after_so_many_seconds() -> None:
    bench = Bench(snapshot_every_s=10.0)
    task = asyncio.create_task(bench.publisher.run())
    for page, seconds in ((1, 0.0), (2, 10.0), (3, 9.0)):
        bench.clock.advance(seconds)
        bench.bulletin.published.clear()
        bench.engine.feed(stored(page))
        await bench.bulletin.published.wait()
    bench.engine.feed(None)
    await task
    assert [snapshot.seq for snapshot in bench.bulletin.snapshots] == [2]


async def test_a_snapshot_is_the_state_after_its_batch_though_reading_goes_on() -> None:
    bench = Bench(snapshot_every_batches=1)
    bench.bulletin.is_open.clear()
    task = asyncio.create_task(bench.publisher.run())
    bench.engine.feed(stored(1))
    await bench.bulletin.called.wait()
    bench.engine.feed(stored(2), None)
    await bench.engine.batches.join()
    bench.bulletin.is_open.set()
    await task
    assert [keys_in(snapshot.runs) for snapshot in bench.bulletin.snapshots] == [
        [key_of(1)],
        [key_of(1), key_of(2)],
    ]


async def test_a_gap_in_the_engines_events_ends_it() -> None:
    bench = Bench()
    orphan = PagesStored([8], 7, [8] * 4)
    with pytest.raises(EventsLost, match="follows an unknown page"):
        await bench.run(stored(1), [orphan], stored(2))


async def test_a_cleared_engine_clears() -> None:
    bench = Bench()
    await bench.run(stored(1), [AllPagesCleared()], stored(2))
    assert bench.bulletin.replayed() == [key_of(2)]


async def test_a_new_life_states_what_is_held_already() -> None:
    bench = Bench()
    await bench.run(stored(1, 2))
    bench.bulletin.batches.clear()
    bench.publisher = bench.make_publisher()
    await bench.run(stored(3))
    assert [batch.seq for batch in bench.bulletin.batches] == [1, 2]
    assert bench.bulletin.replayed() == [key_of(1), key_of(2), key_of(3)]


async def test_other_errors_of_the_broker_end_it() -> None:
    bench = Bench()
    bench.bulletin.failures = [NotLeader("not a publisher's error")]
    with pytest.raises(NotLeader):
        await bench.run(stored(1))


async def test_an_error_of_the_engine_ends_it_after_what_it_said() -> None:
    class BrokenEngine(ScriptedEngine):
        async def page_events(self) -> AsyncGenerator[list[PageEvent]]:
            yield stored(1)
            msg = "a bug"
            raise ZeroDivisionError(msg)

    bench = Bench()
    bench.engine = BrokenEngine()
    bench.publisher = bench.make_publisher()
    with pytest.raises(ZeroDivisionError):
        await bench.publisher.run()
    assert bench.bulletin.replayed() == [key_of(1)]

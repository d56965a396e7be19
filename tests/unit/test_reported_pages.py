"""Following a server's KV events, on real sockets: nothing missed, nothing twice, or told so."""

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import zmq
from kv_events_stub import CLEARED, KvEventsStub, removed, stored

from preble.errors import EventsLost
from preble_workers.engine import AllPagesCleared, PageEvent, PagesRemoved, PagesStored
from preble_workers.kv_events import Endpoints
from preble_workers.reported_pages import ReportedPages
from preble_workers.sglang_events import parse_events

pytestmark = pytest.mark.anyio

PAGE = 16
PATIENCE_S = 3
TURNS = 12
KEPT = 20
Reader = AsyncGenerator[list[PageEvent]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KvEventsStub]:
    async with KvEventsStub(tmp_path, kept_batches=KEPT) as server:
        yield server


@pytest.fixture
async def pages(server: KvEventsStub) -> AsyncIterator[ReportedPages]:
    async with following(server) as pages:
        yield pages


@asynccontextmanager
async def following(
    server: KvEventsStub, *, replays: bool = True, on_batch: Callable[[], None] = lambda: None
) -> AsyncGenerator[ReportedPages]:
    endpoints = Endpoints(server.events_endpoint, server.replay_endpoint if replays else "")
    pages = ReportedPages(
        endpoints, event_reader=lambda: partial(parse_events, page_size=PAGE), on_batch=on_batch
    )
    try:
        yield pages
    finally:
        pages.close()


async def read(reader: Reader, count: int) -> list[PageEvent]:
    """The next events, however they come together."""
    events: list[PageEvent] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(events) < count:
            events += await anext(reader)
    return events


async def read_until(reader: Reader, last: PageEvent) -> list[PageEvent]:
    """What is held by the events up to one."""
    events: list[PageEvent] = []
    while last not in events:
        events += await read(reader, 1)
        if AllPagesCleared() in events:
            events = [each for each in events if each != AllPagesCleared()]
    return events


async def begun(server: KvEventsStub, pages: ReportedPages) -> Reader:
    """A reader that has caught up with a server that has said nothing yet."""
    reader = pages.batches()
    assert await read(reader, 1) == [AllPagesCleared()]
    waiting = asyncio.ensure_future(read(reader, 1))
    await server.is_followed()
    await server.publish(CLEARED)
    assert await waiting == [AllPagesCleared()]
    return reader


def page(number: int, *, salt: str = "") -> PagesStored:
    tokens = [*range(number * PAGE, (number + 1) * PAGE)]
    return PagesStored([number], number - 1 if number else None, tokens, salt)


async def publish_pages(server: KvEventsStub, first: int, end: int) -> None:
    for number in range(first, end):
        await server.publish(stored(number, number + 1))


async def test_a_late_subscriber_is_told_all_from_the_beginning(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    await publish_pages(server, 0, 3)
    reader = pages.batches()
    assert await read(reader, 4) == [AllPagesCleared(), page(0), page(1), page(2)]
    waiting = asyncio.ensure_future(read(reader, 2))
    await server.is_followed()
    await server.publish(stored(3, 4), removed(2))
    assert await waiting == [page(3), PagesRemoved([2])]


async def test_replays_without_a_topic_are_understood(tmp_path: Path) -> None:
    async with (
        KvEventsStub(tmp_path, sends_topic=False) as server,
        following(server) as pages,
    ):
        await publish_pages(server, 0, 2)
        assert await read(pages.batches(), 3) == [AllPagesCleared(), page(0), page(1)]


async def test_each_batch_read_counts_as_progress(server: KvEventsStub) -> None:
    steps: list[None] = []
    async with following(server, on_batch=lambda: steps.append(None)) as pages:
        reader = await begun(server, pages)
        before = len(steps)
        await publish_pages(server, 0, 2)
        await read(reader, 2)
        assert len(steps) == before + 2


async def test_a_gap_is_replayed_in_order_and_once(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    reader = await begun(server, pages)
    await server.publish(stored(0, 1))
    server.lose(stored(1, 2))
    server.lose(stored(2, 3))
    await publish_pages(server, 3, 5)
    assert await read(reader, 5) == [page(number) for number in range(5)]
    await server.publish(removed(4))
    assert await read(reader, 1) == [PagesRemoved([4])]


@pytest.mark.parametrize("dropped", [{3}, {4, 5}, {2, 5}])
async def test_what_a_replay_leaves_out_is_asked_for_again(
    server: KvEventsStub, pages: ReportedPages, dropped: set[int]
) -> None:
    for number in range(6):
        server.lose(stored(number, number + 1))
    server.dropped = dropped
    events = await read(pages.batches(), 1)
    # Without a later message nobody can know that the last of all is missing.
    whole = 6 if max(dropped) < 5 else min(6, *dropped)
    assert events[: whole + 1] == [AllPagesCleared(), *map(page, range(whole))]


async def test_a_replay_that_ends_before_a_known_batch_is_asked_for_again(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    reader = await begun(server, pages)
    server.lose(stored(1, 2))
    server.dropped = {1, 2}
    await server.publish(stored(2, 3))
    assert await read(reader, 2) == [page(1), page(2)]


async def test_a_gap_beyond_what_is_kept_is_told(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    reader = await begun(server, pages)
    for number in range(KEPT + 1):
        server.lose(stored(number, number + 1))
    await server.publish(stored(KEPT + 1, KEPT + 2))
    with pytest.raises(EventsLost, match="KV event 1 was missed"):
        await read(reader, 1)


async def test_a_server_that_has_lived_too_long_is_told(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    await publish_pages(server, 0, KEPT + 1)
    reader = pages.batches()
    with pytest.raises(EventsLost, match="KV event 0 was missed"):
        await read(reader, 2)


async def test_without_replays_nothing_can_be_caught_up(server: KvEventsStub) -> None:
    async with following(server, replays=False) as pages:
        with pytest.raises(EventsLost, match="cannot replay"):
            await read(pages.batches(), 2)


@pytest.mark.parametrize("replays", [True, False])
async def test_after_a_loss_all_before_the_flush_is_dropped(
    server: KvEventsStub, *, replays: bool
) -> None:
    """What the server says from the flush on is complete again, by whichever way it comes."""
    async with following(server, replays=replays) as pages:
        await publish_pages(server, 0, KEPT + 2)
        with pytest.raises(EventsLost):
            await read(pages.batches(), 2)
        await server.is_followed()
        await server.publish(stored(90, 91))
        pages.flushed()
        await server.publish(removed(90), CLEARED, stored(0, 1))
        await server.publish(stored(1, 2))
        assert await read_until(pages.batches(), page(1)) == [page(0), page(1)]


async def test_a_loss_on_the_way_is_told_once(server: KvEventsStub, pages: ReportedPages) -> None:
    reader = await begun(server, pages)
    for number in range(KEPT + 1):
        server.lose(stored(number, number + 1))
    await server.publish(stored(KEPT + 1, KEPT + 2))
    with pytest.raises(EventsLost):
        await read(reader, 1)
    pages.flushed()
    await server.publish(CLEARED)
    await server.publish(stored(0, 1))
    assert await read(pages.batches(), 2) == [AllPagesCleared(), page(0)]


async def test_a_flush_that_nothing_was_lost_before_drops_what_came_before_it(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    reader = await begun(server, pages)
    pages.flushed()
    await server.publish(stored(0, 1))
    await server.publish(CLEARED)
    await server.publish(stored(0, 1))
    assert await read(reader, 2) == [AllPagesCleared(), page(0)]


async def test_a_restarted_server_is_followed_from_its_first_batch(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    reader = await begun(server, pages)
    await publish_pages(server, 0, 2)
    await read(reader, 2)
    await reader.aclose()
    await server.restart()
    await publish_pages(server, 7, 8)
    pages.restarted()
    reader = pages.batches()
    assert await read(reader, 2) == [AllPagesCleared(), page(7)]
    waiting = asyncio.ensure_future(read(reader, 1))
    await server.is_followed()
    await server.publish(stored(8, 9))
    assert await waiting == [page(8)]


async def test_a_restart_ends_the_wait_for_a_flush(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    reader = await begun(server, pages)
    pages.flushed()
    await reader.aclose()
    await server.restart()
    await publish_pages(server, 0, 1)
    pages.restarted()
    assert await read(pages.batches(), 2) == [AllPagesCleared(), page(0)]


async def test_what_an_old_server_still_said_is_not_the_new_ones(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    """A batch of the old server that waits unread has the number that the new one comes to."""
    reader = await begun(server, pages)
    await reader.aclose()
    await server.publish(stored(90, 91))  # batch 1, unread
    await server.restart()
    await server.publish(stored(0, 1))
    pages.restarted()
    reader = pages.batches()
    assert await read(reader, 2) == [AllPagesCleared(), page(0)]
    waiting = asyncio.ensure_future(read(reader, 1))
    await server.is_followed()
    await server.publish(stored(1, 2))
    assert await waiting == [page(1)]


async def test_a_restart_that_nobody_told_of_is_noticed(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    """An idle server may be restarted by its owner: no request fails, its numbers begin anew."""
    reader = await begun(server, pages)
    await publish_pages(server, 0, 3)
    await read(reader, 3)
    waiting = asyncio.ensure_future(read(reader, 2))
    await server.restart()
    await server.is_followed()
    await server.publish(stored(7, 8))
    assert await waiting == [AllPagesCleared(), page(7)]


async def test_a_restart_after_nothing_but_a_replay_is_noticed(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    await publish_pages(server, 0, 3)
    reader = pages.batches()
    await read(reader, 4)
    waiting = asyncio.ensure_future(read(reader, 2))
    await server.is_followed()
    await server.restart()
    await server.is_followed()
    await server.publish(stored(7, 8))
    assert await waiting == [AllPagesCleared(), page(7)]


@pytest.mark.parametrize("turns", [1, 10])
async def test_close_ends_a_waiting_reader(
    server: KvEventsStub, pages: ReportedPages, turns: int
) -> None:
    reader = await begun(server, pages)
    waiting = asyncio.ensure_future(anext(reader, None))
    for _ in range(turns):
        await asyncio.sleep(0)
    pages.close()
    async with asyncio.timeout(20):
        assert await waiting is None


async def test_close_drops_what_waits(server: KvEventsStub, pages: ReportedPages) -> None:
    reader = await begun(server, pages)
    await publish_pages(server, 0, 2)
    pages.close()
    assert [batch async for batch in reader] == []


async def test_closing_twice_does_no_harm(server: KvEventsStub, pages: ReportedPages) -> None:
    await begun(server, pages)
    pages.close()
    pages.close()


async def test_close_ends_a_reader_that_catches_up(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    server.go_on.clear()
    waiting = asyncio.ensure_future(read_out(pages))
    async with asyncio.timeout(PATIENCE_S):
        await server.replays.get()
        pages.close()
        assert await waiting in ([], [AllPagesCleared()])


async def read_out(pages: ReportedPages) -> list[PageEvent]:
    return [event async for batch in pages.batches() for event in batch]


async def test_a_reader_that_comes_after_close_ends_at_once(pages: ReportedPages) -> None:
    pages.close()
    async with asyncio.timeout(PATIENCE_S):
        assert await read_out(pages) in ([], [AllPagesCleared()])


async def test_a_cancelled_reader_loses_nothing(server: KvEventsStub, pages: ReportedPages) -> None:
    reader = await begun(server, pages)
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    await publish_pages(server, 0, 2)
    assert await read(pages.batches(), 2) == [page(0), page(1)]


async def test_a_message_that_comes_with_the_cancellation_is_not_lost(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    """The reader is cancelled at each of the first turns of the event loop in its turn."""
    reader = await begun(server, pages)
    got: list[PageEvent] = []
    for turns in range(TURNS):
        waiting = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        await server.publish(stored(turns, turns + 1))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        if not waiting.cancelled():
            got += waiting.result()
        await reader.aclose()
        reader = pages.batches()
    got += await read(reader, TURNS - len(got))
    assert got == [page(number) for number in range(TURNS)]


async def test_a_reader_cancelled_while_it_catches_up_loses_nothing(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    """Else a worker beside a warm and idle server knows nothing of it until its next event."""
    await publish_pages(server, 0, 2)
    server.go_on.clear()
    waiting = asyncio.ensure_future(read_out(pages))
    async with asyncio.timeout(PATIENCE_S):
        await server.replays.get()
    waiting.cancel()
    await asyncio.wait({waiting})
    server.go_on.set()
    assert await read(pages.batches(), 3) == [AllPagesCleared(), page(0), page(1)]


async def test_a_reader_cancelled_while_it_fills_a_gap_loses_nothing(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    """The message that showed the gap is taken already: nothing else would show it soon."""
    reader = await begun(server, pages)
    await drained(server.replays)
    server.go_on.clear()
    server.lose(stored(0, 1))
    await server.publish(stored(1, 2))
    waiting = asyncio.ensure_future(anext(reader))
    async with asyncio.timeout(PATIENCE_S):
        await server.replays.get()
    waiting.cancel()
    await asyncio.wait({waiting})
    server.go_on.set()
    assert await read(pages.batches(), 2) == [page(0), page(1)]


async def drained(queue: asyncio.Queue[int]) -> None:
    while not queue.empty():
        queue.get_nowait()


async def test_a_reader_that_stops_after_its_first_batch_loses_none(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    await publish_pages(server, 0, 3)
    reader = pages.batches()
    got = await anext(reader)
    await reader.aclose()
    later = asyncio.ensure_future(read(pages.batches(), 5 - len(got)))
    await server.is_followed()
    await server.publish(stored(3, 4))
    expected = [AllPagesCleared(), *map(page, range(4))]
    assert got + await later == expected


async def test_only_the_first_batch_may_be_empty(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    """It comes at once, and with it all that is held was told."""
    await publish_pages(server, 0, 2)
    reader = pages.batches()
    assert await anext(reader) == [AllPagesCleared(), page(0), page(1)]
    await reader.aclose()
    reader = pages.batches()
    assert await anext(reader) == []
    waiting = asyncio.ensure_future(anext(reader))
    await server.is_followed()
    await server.publish()
    await server.publish(stored(2, 3, medium="DISK"))
    await server.publish(removed(1))
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting == [PagesRemoved([1])]


async def test_no_socket_is_left_open(server: KvEventsStub) -> None:
    before = len(open_pairs())
    async with following(server) as pages:
        await begun(server, pages)
        assert len(open_pairs()) == before


def open_pairs() -> list[object]:
    """Sockets as ZeroMQ's monitors use them."""
    return [
        each
        for each in gc.get_objects()
        if isinstance(each, zmq.Socket) and not each.closed and each.type == zmq.PAIR
    ]


async def test_a_server_that_cannot_be_reached_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preble_workers.reported_pages._CONNECT_TIMEOUT_S", 0.01)
    server = KvEventsStub(tmp_path)
    async with following(server) as pages:
        with pytest.raises(EventsLost, match="cannot be reached"):
            await read(pages.batches(), 1)


async def test_a_server_that_comes_late_is_followed_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preble_workers.reported_pages._CONNECT_TIMEOUT_S", 0.01)
    late = KvEventsStub(tmp_path)
    async with following(late) as pages:
        with pytest.raises(EventsLost, match="cannot be reached"):
            await read(pages.batches(), 1)
        monkeypatch.setattr("preble_workers.reported_pages._CONNECT_TIMEOUT_S", 2.0)
        async with late as server:
            await server.publish(stored(0, 1))
            assert await read(pages.batches(), 2) == [AllPagesCleared(), page(0)]


async def test_a_reader_cancelled_while_it_connects_hinders_no_later_one(
    server: KvEventsStub, pages: ReportedPages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preble_workers.reported_pages._CONNECT_TIMEOUT_S", 2.0)
    waiting = asyncio.ensure_future(anext(pages.batches()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    await publish_pages(server, 0, 1)
    assert await read(pages.batches(), 2) == [AllPagesCleared(), page(0)]


async def test_a_replay_that_does_not_end_is_a_loss(
    server: KvEventsStub, pages: ReportedPages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preble_workers.reported_pages._REPLAY_TIMEOUT_S", 0.01)
    server.go_on.clear()
    with pytest.raises(EventsLost, match="did not replay"):
        await read(pages.batches(), 2)


@pytest.mark.parametrize(
    "frames",
    [
        [b"junk"],
        [b"", b"short", b""],
        [b"", (1).to_bytes(8, "big"), b"\xc1"],
        [b"", (1).to_bytes(8, "big"), b"\x93\xcb"],
    ],
)
async def test_junk_is_a_loss(
    server: KvEventsStub, pages: ReportedPages, frames: list[bytes]
) -> None:
    reader = await begun(server, pages)
    await server.send(frames)
    with pytest.raises(EventsLost):
        await read(reader, 1)


async def test_pages_of_another_size_are_a_loss(server: KvEventsStub, pages: ReportedPages) -> None:
    reader = await begun(server, pages)
    await server.publish(stored(0, 1, page_size=32))
    with pytest.raises(EventsLost, match="pages of 32 tokens, not 16"):
        await read(reader, 1)


async def test_only_the_devices_pages_count(server: KvEventsStub, pages: ReportedPages) -> None:
    reader = await begun(server, pages)
    await server.publish(stored(0, 1, medium="CPU_PINNED"), removed(0, medium="DISK"))
    await server.publish(stored(0, 1, medium=None), removed(7))
    assert await read(reader, 2) == [page(0), PagesRemoved([7])]


async def test_salts_are_kept(server: KvEventsStub, pages: ReportedPages) -> None:
    reader = await begun(server, pages)
    await server.publish(stored(0, 1, cache_salt="tenant"))
    assert await read(reader, 1) == [page(0, salt="tenant")]

"""Following a server's KV events, on real sockets: nothing missed, nothing twice, or told so."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from kv_events_stub import CLEARED, KvEventsStub, removed, stored

from preble.errors import EventsLost
from preble_workers.engine import AllPagesCleared, PageEvent, PagesRemoved, PagesStored
from preble_workers.kv_events import Endpoints
from preble_workers.reported_pages import ReportedPages

pytestmark = pytest.mark.anyio

PAGE = 16
Reader = AsyncGenerator[list[PageEvent]]
Follow = Callable[[], AbstractAsyncContextManager[ReportedPages]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KvEventsStub]:
    async with KvEventsStub(tmp_path, kept_batches=4) as server:
        yield server


@pytest.fixture
async def pages(server: KvEventsStub) -> AsyncIterator[ReportedPages]:
    async with following(server) as pages:
        yield pages


@asynccontextmanager
async def following(
    server: KvEventsStub, *, replays: bool = True, on_batch: Callable[[], None] = lambda: None
) -> AsyncIterator[ReportedPages]:
    endpoints = Endpoints(server.events_endpoint, server.replay_endpoint if replays else "")
    pages = ReportedPages(endpoints, page_size=PAGE, on_batch=on_batch)
    yield pages
    pages.close()


async def read(reader: Reader, count: int = 1) -> list[list[PageEvent]]:
    """The next batches."""
    async with asyncio.timeout(20):
        return [await anext(reader) for _ in range(count)]


async def begun(server: KvEventsStub, pages: ReportedPages) -> Reader:
    """A reader that has caught up with a server that has said nothing yet."""
    reader = pages.batches()
    assert await read(reader) == [[AllPagesCleared()]]
    await server.is_followed()
    await server.publish(CLEARED)
    assert await read(reader) == [[AllPagesCleared()]]
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
    assert await read(reader, 4) == [[AllPagesCleared()], [page(0)], [page(1)], [page(2)]]
    await server.is_followed()
    await server.publish(stored(3, 4), removed(2))
    assert await read(reader) == [[page(3), PagesRemoved([2])]]


async def test_replays_without_a_topic_are_understood(tmp_path: Path) -> None:
    async with (
        KvEventsStub(tmp_path, sends_topic=False) as server,
        following(server) as pages,
    ):
        await publish_pages(server, 0, 2)
        assert await read(pages.batches(), 3) == [[AllPagesCleared()], [page(0)], [page(1)]]


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
    assert await read(reader, 5) == [[page(number)] for number in range(5)]
    await server.publish(removed(4))
    assert await read(reader) == [[PagesRemoved([4])]]


async def test_a_gap_beyond_what_is_kept_is_told(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    reader = await begun(server, pages)
    for number in range(5):
        server.lose(stored(number, number + 1))
    await server.publish(stored(5, 6))
    with pytest.raises(EventsLost, match="KV event 1 was missed"):
        await read(reader)


async def test_a_server_that_has_lived_too_long_is_told(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    await publish_pages(server, 0, 5)
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
        await publish_pages(server, 0, 6)
        with pytest.raises(EventsLost):
            await read(pages.batches(), 2)
        await server.is_followed()
        await server.publish(stored(6, 7))
        pages.flushed()
        await server.publish(removed(6), CLEARED, stored(0, 1))
        await server.publish(stored(1, 2))
        expected = [[AllPagesCleared(), page(0)], [page(1)]]
        assert await read(pages.batches(), 2) == expected


async def test_a_loss_on_the_way_is_told_once(server: KvEventsStub, pages: ReportedPages) -> None:
    reader = await begun(server, pages)
    for number in range(5):
        server.lose(stored(number, number + 1))
    await server.publish(stored(5, 6))
    with pytest.raises(EventsLost):
        await read(reader)
    pages.flushed()
    await server.publish(CLEARED)
    await server.publish(stored(0, 1))
    assert await read(pages.batches(), 2) == [[AllPagesCleared()], [page(0)]]


async def test_a_flush_that_nothing_was_lost_before_drops_what_came_before_it(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    reader = await begun(server, pages)
    pages.flushed()
    await server.publish(stored(0, 1))
    await server.publish(CLEARED)
    await server.publish(stored(0, 1))
    assert await read(reader, 2) == [[AllPagesCleared()], [page(0)]]


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
    assert await read(reader, 2) == [[AllPagesCleared()], [page(7)]]
    await server.is_followed()
    await server.publish(stored(8, 9))
    assert await read(reader) == [[page(8)]]


async def test_a_restart_ends_the_wait_for_a_flush(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    reader = await begun(server, pages)
    pages.flushed()
    await reader.aclose()
    await server.restart()
    await publish_pages(server, 0, 1)
    pages.restarted()
    assert await read(pages.batches(), 2) == [[AllPagesCleared()], [page(0)]]


async def test_what_an_old_server_still_said_is_not_the_new_ones(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    """A batch of the old server that waits unread has the number that the new one comes to."""
    reader = await begun(server, pages)
    await reader.aclose()
    await server.publish(stored(90, 91))  # batch 1, unread
    await server.restart()
    await server.is_followed()
    pages.restarted()
    await server.publish(stored(0, 1))
    reader = pages.batches()
    assert await read(reader, 2) == [[AllPagesCleared()], [page(0)]]
    await server.publish(stored(1, 2))
    assert await read(reader) == [[page(1)]]


async def test_a_restart_that_nobody_told_of_is_noticed(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    """An idle server may be restarted by its owner: no request fails, its numbers begin anew."""
    reader = await begun(server, pages)
    await publish_pages(server, 0, 3)
    await read(reader, 3)
    await server.restart()
    await server.is_followed()
    await server.publish(stored(7, 8))
    with pytest.raises(EventsLost):
        await read(reader)


async def test_close_ends_a_waiting_reader(server: KvEventsStub, pages: ReportedPages) -> None:
    reader = await begun(server, pages)
    waiting = asyncio.ensure_future(anext(reader, None))
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
    reader = pages.batches()
    await read(reader)
    waiting = asyncio.ensure_future(anext(reader, None))
    async with asyncio.timeout(20):
        await server.replays.get()
        pages.close()
        assert await waiting is None


async def test_a_reader_that_comes_after_close_is_told_nothing(pages: ReportedPages) -> None:
    pages.close()
    assert [batch async for batch in pages.batches()] == []


async def test_a_cancelled_reader_loses_nothing(server: KvEventsStub, pages: ReportedPages) -> None:
    reader = await begun(server, pages)
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    await publish_pages(server, 0, 2)
    assert await read(pages.batches(), 2) == [[page(0)], [page(1)]]


async def test_a_message_that_comes_with_the_cancellation_is_not_lost(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    """The reader is cancelled at each of the first turns of the event loop in its turn."""
    reader = await begun(server, pages)
    got: list[list[PageEvent]] = []
    for turns in range(12):
        waiting = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        await server.publish(stored(turns, turns + 1))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        if not waiting.cancelled():
            got.append(waiting.result())
        await reader.aclose()
        reader = pages.batches()
    got += await read(reader, 12 - len(got))
    assert got == [[page(number)] for number in range(12)]


async def test_a_reader_cancelled_while_it_catches_up_loses_nothing(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    """Else a worker beside a warm and idle server knows nothing of it until its next event."""
    await publish_pages(server, 0, 2)
    server.go_on.clear()
    reader = pages.batches()
    await read(reader)
    waiting = asyncio.ensure_future(anext(reader))
    async with asyncio.timeout(20):
        await server.replays.get()
    waiting.cancel()
    await asyncio.wait({waiting})
    server.go_on.set()
    async with asyncio.timeout(2):
        later = pages.batches()
        got = [await anext(later) for _ in range(2)]
    assert [batch for batch in got if batch != [AllPagesCleared()]][0] == [page(0)]


async def test_a_reader_that_stops_between_replayed_batches_loses_none(
    server: KvEventsStub, pages: ReportedPages
) -> None:
    await publish_pages(server, 0, 3)
    reader = pages.batches()
    assert await read(reader, 2) == [[AllPagesCleared()], [page(0)]]
    await reader.aclose()
    await server.is_followed()
    await server.publish(stored(3, 4))
    assert await read(pages.batches(), 3) == [[page(1)], [page(2)], [page(3)]]


async def test_a_server_that_cannot_be_reached_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preble_workers.reported_pages._CONNECT_TIMEOUT_S", 0.01)
    server = KvEventsStub(tmp_path)
    async with following(server) as pages:
        with pytest.raises(EventsLost, match="cannot be reached"):
            await read(pages.batches())


async def test_a_server_that_comes_late_is_followed_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preble_workers.reported_pages._CONNECT_TIMEOUT_S", 0.01)
    late = KvEventsStub(tmp_path)
    async with following(late) as pages:
        with pytest.raises(EventsLost, match="cannot be reached"):
            await read(pages.batches())
        monkeypatch.setattr("preble_workers.reported_pages._CONNECT_TIMEOUT_S", 2.0)
        async with late as server:
            await server.is_followed()
            await server.publish(stored(0, 1))
            assert await read(pages.batches(), 2) == [[AllPagesCleared()], [page(0)]]


async def test_a_reader_cancelled_while_it_connects_hinders_no_later_one(
    server: KvEventsStub, pages: ReportedPages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preble_workers.reported_pages._CONNECT_TIMEOUT_S", 2.0)
    waiting = asyncio.ensure_future(anext(pages.batches()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    async with asyncio.timeout(20):
        await server.is_followed()
    assert await read(pages.batches()) == [[AllPagesCleared()]]


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
        await read(reader)


async def test_pages_of_another_size_are_a_loss(server: KvEventsStub, pages: ReportedPages) -> None:
    reader = await begun(server, pages)
    await server.publish(stored(0, 1, page_size=32))
    with pytest.raises(EventsLost, match="pages of 32 tokens, not 16"):
        await read(reader)


async def test_only_the_devices_pages_count(server: KvEventsStub, pages: ReportedPages) -> None:
    reader = await begun(server, pages)
    await server.publish(stored(0, 1, medium="CPU_PINNED"), removed(0, medium="DISK"))
    await server.publish(stored(0, 1, medium=None), removed(7))
    assert await read(reader) == [[page(0), PagesRemoved([7])]]


async def test_salts_are_kept(server: KvEventsStub, pages: ReportedPages) -> None:
    reader = await begun(server, pages)
    await server.publish(stored(0, 1, cache_salt="tenant"))
    assert await read(reader) == [[page(0, salt="tenant")]]

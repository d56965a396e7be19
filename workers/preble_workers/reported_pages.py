"""What a server holds by its own KV events: subscribed to, numbered, and replayed where missed.

    server ──PUB, batches 0, 1, 2, …──▶ batches()          a gap: ask for a replay
           ◀─────── from batch n on ─── replay             not all there any more: EventsLost

A server keeps its last batches for replay, so a worker that starts beside a living server
learns all it holds, unless it has lived long. Then, as after any loss, the way back is to
empty the cache: what follows `flushed` and an AllPagesCleared is complete again.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final, TypeVar

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from preble.errors import EventsLost
from preble_workers.dialect import EventReader
from preble_workers.engine import AllPagesCleared, Completion, EngineRequest, PageEvent
from preble_workers.kv_events import (
    END_OF_REPLAY,
    Endpoints,
    Message,
    is_later,
    parse_message,
    replay_request,
)

_REPLAY_TIMEOUT_S: Final = 10.0
_CONNECT_TIMEOUT_S: Final = 10.0
_REPLAYS: Final = 8
"""How often to ask: a server drops what a reader is too slow to take, also from a replay."""

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class ReportedPages:
    """A `PageSource` that listens.

    Args:
        endpoints: The server's.
        event_reader: Makes what reads the events of one life of the server.
        on_batch: Called for each batch that is read: the server makes progress.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        event_reader: Callable[[], EventReader],
        on_batch: Callable[[], None],
    ) -> None:
        self._endpoints = endpoints
        self._event_reader = event_reader
        self._on_batch = on_batch
        self._context = zmq.asyncio.Context()
        self._events: zmq.asyncio.Socket | None = None
        self._closed = asyncio.Event()
        self._is_read = False
        self.restarted()

    def restarted(self) -> None:
        """Begin again at the new server's first batch."""
        self._disconnect()  # what waits unread is the old server's
        self._read_events = self._event_reader()
        self._next_seq = 0
        self._last_payload: bytes | None = None
        self._is_cleared = False
        """Whether AllPagesCleared has told the reader to forget an earlier server."""
        self._is_behind = True
        """Whether batches from `next_seq` on have to be asked for."""
        self._is_lost = False
        """Whether nothing counts until the server says that all is cleared."""

    def flushed(self) -> None:
        """The server will say so itself: nothing it says before that matters any more."""
        self._is_lost = True

    def prefilled(self, request: EngineRequest) -> None:
        """The server says itself what it has stored."""

    def completed(self, request: EngineRequest, completion: Completion) -> None:
        """The server says itself what it has stored."""

    async def batches(self) -> AsyncGenerator[list[PageEvent]]:
        """Events from where an earlier reader stopped; from AllPagesCleared on at first."""
        self._is_read = True
        try:
            yield await self._beginning()
            while (message := await self._receive()) is not None:
                events = await self._take(message)
                self._on_batch()
                if events:
                    yield events
        finally:
            self._is_read = False
            if self._closed.is_set():
                self._context.destroy(linger=0)

    def close(self) -> None:
        """End `batches`; the sockets go with the reader, if there is one."""
        self._closed.set()
        if not self._is_read:
            self._context.destroy(linger=0)

    async def _beginning(self) -> list[PageEvent]:
        events: list[PageEvent] = [] if self._is_cleared else [AllPagesCleared()]
        if self._events is None and not self._closed.is_set():
            await self._unless_closed(self._connect())
        if self._is_behind and not self._closed.is_set():
            events += await self._caught_up()
        self._is_cleared = True
        return events

    async def _take(self, message: Message) -> list[PageEvent]:
        """The events of a message, with what was missed before it."""
        if message.seq < self._next_seq and self._is_replayed(message):
            return []
        if message.seq < self._next_seq:
            _log.warning("KV events begin anew: the engine was restarted")
            self.restarted()
            return await self._beginning()
        events: list[PageEvent] = []
        if message.seq > self._next_seq:
            _log.info("KV events %d to %d were missed", self._next_seq, message.seq - 1)
            self._is_behind = True
            events = await self._caught_up(known_seq=message.seq)
        # A replay brings the message, too; where none is to be had, it has come all the same.
        return events + self._accept([message]) if message.seq >= self._next_seq else events

    def _is_replayed(self, message: Message) -> bool:
        """Whether it came by a replay before, or is one of a new server's first ones."""
        return self._last_payload is None or not is_later(message.payload, self._last_payload)

    async def _caught_up(self, *, known_seq: int = -1) -> list[PageEvent]:
        """All events from the next batch on that the server still has.

        Args:
            known_seq: The replay must reach as far at least.

        Raises:
            EventsLost: If the next one is not among them.
        """
        events: list[PageEvent] = []
        for _ in range(_REPLAYS):
            messages = await self._unless_closed(self._replay()) if self._endpoints.replay else None
            if messages is None or (messages and messages[0].seq != self._next_seq):
                break
            whole = messages[: _unbroken(messages)]
            events += self._accept(whole)
            if len(whole) == len(messages) and self._next_seq > known_seq:
                self._is_behind = False
                return events
        if self._closed.is_set():
            return []
        self._is_behind = False
        if self._is_lost:
            return events
        self._is_lost = True
        missed = self._next_seq
        msg = f"KV event {missed} was missed and the engine cannot replay it"
        raise EventsLost(msg)

    def _accept(self, messages: list[Message]) -> list[PageEvent]:
        """Changes: what comes next; after a loss, all before AllPagesCleared is dropped."""
        taken: list[PageEvent] = []
        for message in messages:
            self._next_seq = message.seq + 1
            self._last_payload = message.payload
            events = self._read_events(message.payload)
            if self._is_lost and AllPagesCleared() in events:
                events = events[events.index(AllPagesCleared()) :]
                self._is_lost = False
            if not self._is_lost:
                taken += events
        return taken

    async def _receive(self) -> Message | None:
        """The next message; None once closed."""
        if self._events is None or self._closed.is_set():
            return None
        frames = await self._unless_closed(_frames(self._events))
        return None if frames is None else parse_message(frames)

    async def _unless_closed(self, what: Coroutine[Any, Any, _T]) -> _T | None:
        """Its result; None if `close` comes first."""
        coming = asyncio.create_task(what)
        closing = asyncio.create_task(self._closed.wait())
        try:
            await asyncio.wait({coming, closing}, return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else None
        finally:
            coming.cancel()
            closing.cancel()
            await asyncio.wait({coming, closing})

    async def _connect(self) -> None:
        """Subscribe; a batch sent before that is known to be missed, and replayed.

        Raises:
            EventsLost: If the server does not answer in time.
        """
        events = self._socket(zmq.SUB)
        events.setsockopt(zmq.SUBSCRIBE, b"")
        monitor = events.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        try:
            events.connect(self._endpoints.events)
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await recv_monitor_message(monitor)
            self._events = events
        except TimeoutError:
            msg = f"the engine's KV events at {self._endpoints.events} cannot be reached"
            raise EventsLost(msg) from None
        finally:
            events.disable_monitor()
            monitor.close()
            if self._events is not events:
                events.close()

    def _disconnect(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None

    def _socket(self, kind: int) -> zmq.asyncio.Socket:
        made = self._context.socket(kind)
        made.setsockopt(zmq.LINGER, 0)
        # What waits unread is bounded; what does not fit is a gap, and replayed.
        made.setsockopt(zmq.RCVHWM, 100_000)
        return made

    async def _replay(self) -> list[Message]:
        socket = self._socket(zmq.DEALER)
        messages: list[Message] = []
        try:
            socket.connect(self._endpoints.replay)
            async with asyncio.timeout(_REPLAY_TIMEOUT_S):
                await socket.send_multipart(replay_request(self._next_seq))  # pyright: ignore[reportUnknownMemberType]  # partly untyped
                while (message := parse_message(await _frames(socket))).seq != END_OF_REPLAY:
                    messages.append(message)
        except TimeoutError:
            msg = f"the engine did not replay its KV events within {_REPLAY_TIMEOUT_S:g} s"
            raise EventsLost(msg) from None
        finally:
            socket.close()
        return messages


def _unbroken(messages: list[Message]) -> int:
    """How many messages follow each other without a gap, from the first on."""
    for index, message in enumerate(messages):
        if message.seq != messages[0].seq + index:
            return index
    return len(messages)


async def _frames(socket: zmq.asyncio.Socket) -> list[bytes]:
    return await socket.recv_multipart()

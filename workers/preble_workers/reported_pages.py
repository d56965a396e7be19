"""What a server holds by its own KV events: subscribed to, numbered, and replayed where missed.

    server ──PUB, batches 0, 1, 2, …──▶ batches()          a gap: ask for a replay
           ◀─────── from batch n on ─── replay             not all there any more: EventsLost

A server keeps its last batches for replay, so a worker that starts beside a living server
learns all it holds, unless it has lived long. Then, as after any loss, the way back is to
empty the cache: what follows `flushed` and an AllPagesCleared is complete again.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Final

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from preble.errors import EventsLost
from preble_workers.engine import AllPagesCleared, Completion, EngineRequest, PageEvent
from preble_workers.kv_events import (
    END_OF_REPLAY,
    Endpoints,
    Message,
    parse_events,
    parse_message,
    replay_request,
)

_REPLAY_TIMEOUT_S: Final = 10.0
_CONNECT_TIMEOUT_S: Final = 10.0

_log = logging.getLogger(__name__)


class ReportedPages:
    """A `PageSource` that listens.

    Args:
        endpoints: The server's.
        page_size: Of the server; events of another size are refused.
        on_batch: Called for each batch that is read: the server makes progress.
    """

    def __init__(
        self, endpoints: Endpoints, *, page_size: int, on_batch: Callable[[], None]
    ) -> None:
        self._endpoints = endpoints
        self._page_size = page_size
        self._on_batch = on_batch
        self._context = zmq.asyncio.Context()
        self._events = self._socket(zmq.SUB)
        self._events.setsockopt(zmq.SUBSCRIBE, b"")
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._next_seq = 0
        self._is_connected = False
        self._is_lost = False
        self._is_new = True

    async def batches(self) -> AsyncGenerator[list[PageEvent]]:
        """Events from where an earlier reader stopped; from AllPagesCleared on at first."""
        if not self._is_connected:
            await self._connect()
        if self._is_new:
            yield [AllPagesCleared()]
            self._is_new = False
            for events in await self._caught_up():
                yield events
        while (message := await self._receive()) is not None:
            self._on_batch()
            for events in await self._take(message):
                yield events

    def completed(self, request: EngineRequest, completion: Completion) -> None:
        """The server says itself what it has stored."""

    def restarted(self) -> None:
        """Begin again at the new server's first batch."""
        self._next_seq = 0
        self._is_lost = False
        self._is_new = True

    def flushed(self) -> None:
        """The server will say so itself: nothing it says before that matters any more."""
        self._is_lost = True

    def close(self) -> None:
        """End `batches`, and the sockets."""
        if not self._closed.done():
            self._closed.set_result(None)
        self._context.destroy(linger=0)

    def _socket(self, kind: int) -> zmq.asyncio.Socket:
        made = self._context.socket(kind)
        made.setsockopt(zmq.LINGER, 0)
        # What waits unread is bounded by the server's own mark; a gap is replayed.
        made.setsockopt(zmq.RCVHWM, 100_000)
        return made

    async def _connect(self) -> None:
        """Subscribe; a batch sent before that is known to be missed, and replayed."""
        monitor = self._events.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._events.connect(self._endpoints.events)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await recv_monitor_message(monitor)
        except TimeoutError:
            msg = f"the engine's KV events at {self._endpoints.events} cannot be reached"
            raise EventsLost(msg) from None
        finally:
            self._events.disable_monitor()
        self._is_connected = True

    async def _take(self, message: Message) -> list[list[PageEvent]]:
        """The events of a message, with what was missed before it."""
        if message.seq < self._next_seq:
            return []  # replayed already
        if message.seq > self._next_seq:
            _log.info("KV events %d to %d were missed", self._next_seq, message.seq - 1)
            return await self._caught_up()
        return self._accept([message])

    async def _caught_up(self) -> list[list[PageEvent]]:
        """All batches from the next one on that the server still has.

        Raises:
            EventsLost: If the next one is not among them.
        """
        messages = await self._replay() if self._endpoints.replay else []
        if not self._endpoints.replay or (messages and messages[0].seq > self._next_seq):
            self._is_lost = True
            msg = f"KV event {self._next_seq} was missed and the engine cannot replay it"
            raise EventsLost(msg)
        return self._accept(messages)

    def _accept(self, messages: list[Message]) -> list[list[PageEvent]]:
        """Changes: what comes next; after a loss, all before AllPagesCleared is dropped."""
        taken: list[list[PageEvent]] = []
        for message in messages:
            self._next_seq = message.seq + 1
            events = parse_events(message.payload, page_size=self._page_size)
            if self._is_lost and AllPagesCleared() in events:
                events = events[events.index(AllPagesCleared()) :]
                self._is_lost = False
            if events and not self._is_lost:
                taken.append(events)
        return taken

    async def _receive(self) -> Message | None:
        """The next message; None once closed."""
        if self._closed.done():
            return None
        coming = asyncio.ensure_future(self._events.recv_multipart())
        try:
            await asyncio.wait({coming, self._closed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not coming.done():
                coming.cancel()
        return None if self._closed.done() else parse_message(coming.result())

    async def _replay(self) -> list[Message]:
        socket = self._socket(zmq.DEALER)
        messages: list[Message] = []
        try:
            socket.connect(self._endpoints.replay)
            async with asyncio.timeout(_REPLAY_TIMEOUT_S):
                await socket.send_multipart(replay_request(self._next_seq))
                while (
                    message := parse_message(await socket.recv_multipart())
                ).seq != END_OF_REPLAY:
                    messages.append(message)
        except TimeoutError:
            msg = f"the engine did not replay its KV events within {_REPLAY_TIMEOUT_S:g} s"
            raise EventsLost(msg) from None
        finally:
            socket.close()
        return messages

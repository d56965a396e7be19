"""A stand-in for the KV events of an SGLang server: real ZeroMQ sockets, no server behind them.

Speaks what SGLang 0.5.23 was seen to speak (`preble_workers.kv_events`): numbered batches on a
PUB socket, and replays of the last ones on a ROUTER.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import zmq
import zmq.asyncio

Event = dict[str, object]

CLEARED: Event = {"type": "AllBlocksCleared"}
_PATIENCE_S = 20
_END = (-1).to_bytes(8, "big", signed=True)


_sent_at_s = map(float, count(1))
"""A clock of batches: each is later than all before, whichever server sends it."""


class KvEventsStub:
    """One server's events; `async with` runs it.

    Args:
        folder: For the sockets.
        kept_batches: What it can replay.
        sends_topic: Whether replays carry a topic; those of SGLang 0.5.21 did not.
    """

    def __init__(self, folder: Path, *, kept_batches: int = 100, sends_topic: bool = True) -> None:
        self.events_endpoint = f"ipc://{folder}/events"
        self.replay_endpoint = f"ipc://{folder}/replay"
        self.replays: asyncio.Queue[int] = asyncio.Queue()
        """First number of each replay asked for, as the requests come."""
        self.go_on = asyncio.Event()
        """Clear it to hold the answers to replay requests."""
        self.go_on.set()
        self.dropped: set[int] = set()
        """Numbers that the next replay leaves out, as a server does whose reader is slow."""
        self._topic = [b""] if sends_topic else []
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=kept_batches)
        self._next_seq = 0

    async def __aenter__(self) -> Self:
        self._context = zmq.asyncio.Context()
        self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()
        self._context.destroy(linger=0)

    async def publish(self, *events: Event) -> int:
        """Send one batch. Returns its number."""
        seq = self.lose(*events)
        await self.send([b"", *self._numbered(*self._kept[-1])])
        return seq

    def lose(self, *events: Event) -> int:
        """Number a batch that only a replay can tell. Returns its number."""
        seq = self._next_seq
        self._kept.append((seq, msgspec.msgpack.encode([next(_sent_at_s), events, 0])))
        self._next_seq += 1
        return seq

    async def send(self, frames: Sequence[bytes]) -> None:
        """Send a message to all subscribers as it is."""
        await self._publisher.send_multipart(list(frames))

    async def is_followed(self) -> None:
        """Wait until one more subscriber is there: what is sent from now on reaches it."""
        async with asyncio.timeout(_PATIENCE_S):
            while (await self._publisher.recv())[:1] != b"\x01":
                pass

    async def restart(self) -> None:
        """Begin anew on the same addresses, with batch 0; subscribers come back by themselves."""
        await self._close()
        self._kept.clear()
        self._next_seq = 0
        self._open()

    def _open(self) -> None:
        # A PUB that also tells who subscribes.
        self._publisher = self._socket(zmq.XPUB, self.events_endpoint)
        self._router = self._socket(zmq.ROUTER, self.replay_endpoint)
        self._replayer = asyncio.create_task(self._replay_forever(), name="kv-events-stub")

    def _socket(self, kind: int, endpoint: str) -> zmq.asyncio.Socket:
        made = self._context.socket(kind)
        made.setsockopt(zmq.LINGER, 0)
        made.bind(endpoint)
        return made

    async def _close(self) -> None:
        self._replayer.cancel()
        await asyncio.wait({self._replayer})
        self._publisher.close()
        self._router.close()

    async def _replay_forever(self) -> None:
        while True:
            client, delimiter, first = await self._router.recv_multipart()
            first_seq = int.from_bytes(first, "big")
            self.replays.put_nowait(first_seq)
            await self.go_on.wait()
            head = [client, delimiter, *self._topic]
            dropped, self.dropped = self.dropped, set()
            for seq, payload in self._kept:
                if seq >= first_seq and seq not in dropped:
                    await self._router.send_multipart([*head, *self._numbered(seq, payload)])
            await self._router.send_multipart([*head, _END, b""])

    @staticmethod
    def _numbered(seq: int, payload: bytes) -> list[bytes]:
        return [seq.to_bytes(8, "big"), payload]


def stored(
    first: int,
    end: int,
    *,
    page_size: int = 16,
    medium: str | None = "GPU",
    cache_salt: str | None = None,
) -> Event:
    """Pages `first` to `end` of one long prompt, each named by its position."""
    event: Event = {
        "type": "BlockStored",
        "block_hashes": [*range(first, end)],
        "parent_block_hash": first - 1 if first else None,
        "token_ids": [*range(first * page_size, end * page_size)],
        "block_size": page_size,
        "lora_id": None,
        "medium": medium,
    }
    # SGLang leaves out what it has nothing to say of.
    return event | ({"cache_salt": cache_salt} if cache_salt else {})


def removed(*pages: int, medium: str | None = "GPU") -> Event:
    """These pages are gone."""
    return {"type": "BlockRemoved", "block_hashes": [*pages], "medium": medium}

"""Ways to Redis that can be cut, stalled, or made to run scripts twice; a process of its own.

`python -m chaos.proxy REDIS_PORT SEED NAME=PORT …` listens on each port, on `HOST:PORT` if a host
is given, and takes lines `NAME MODE` from its standard input:

- `open`: bytes pass.
- `cut`: connections are reset, new ones as well.
- `stalled`: nothing passes either way and nobody is told; all of it arrives when that ends.
- `lossy`: some calls of scripts are made, and their replies lost with the connection, so that
  redis-py makes them again.
- `late`: some calls of scripts are kept, the connection is lost, redis-py makes them again, and
  the kept ones arrive after that.
"""

import asyncio
import sys
from collections.abc import Callable
from random import Random
from typing import Final, Literal, cast, get_args

import uvloop

Mode = Literal["open", "cut", "stalled", "lossy", "late"]

SCRIPT: Final = b"EVALSHA"
LOSS: Final = 0.3
"""Of all calls of scripts, that lose their reply or come late."""
LATEST_S: Final = 6.0
LOOPBACK: Final = "127.0.0.1"


class Link:
    """One process's way to Redis.

    Args:
        redis_port: Where it leads.
        random: Picks the calls that fare badly.
    """

    def __init__(self, redis_port: int, random: Random) -> None:
        self.redis_port = redis_port
        self.random = random
        self.mode: Mode = "open"
        self.pairs: set[Pair] = set()

    def turn(self, mode: Mode) -> None:
        """Change how it behaves from now on."""
        self.mode = mode
        for pair in list(self.pairs):
            pair.follow(mode)

    def is_unlucky(self, data: bytes) -> bool:
        """Whether this call of a script is one to be lost or kept."""
        return SCRIPT in data and self.random.random() < LOSS

    def deliver_late(self, data: bytes) -> None:
        """Make a call whose sender has gone, some time from now."""
        loop = asyncio.get_running_loop()
        delay_s = self.random.uniform(0, LATEST_S)
        loop.call_later(delay_s, lambda: loop.create_task(self._deliver(data)))

    async def _deliver(self, data: bytes) -> None:
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self.redis_port)
            writer.write(data)
            await writer.drain()
            writer.close()
        except OSError:
            return  # Redis is away: then this copy never arrives


class End(asyncio.Protocol):
    """One side of a connection; the pair decides what becomes of its bytes."""

    def __init__(self, on_data: Callable[[bytes], None], on_lost: Callable[[], None]) -> None:
        self._on_data = on_data
        self._on_lost = on_lost
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        self._on_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the pair. What was passed on before still arrives."""
        del exc
        self.transport = None
        self._on_lost()

    def write(self, data: bytes) -> None:
        """Send, if anybody is there."""
        if self.transport:
            self.transport.write(data)


class Pair:
    """A client's connection and the one to Redis that belongs to it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loses_reply = False
        self.client = End(self._from_client, self._close)
        self._redis = End(self._from_redis, self._close)
        self._early: list[bytes] = []
        link.pairs.add(self)

    async def open(self) -> None:
        """Connect to Redis and behave as the link does."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self._redis, LOOPBACK, self._link.redis_port)
        except OSError:
            self._abort()
            return
        for data in self._early:
            self._redis.write(data)
        self._early.clear()
        self.follow(self._link.mode)

    def follow(self, mode: Mode) -> None:
        """The link has another mode now."""
        if mode == "cut":
            self._abort()
        for end in (self.client, self._redis):
            if end.transport and not end.transport.is_closing():
                (
                    end.transport.pause_reading
                    if mode == "stalled"
                    else end.transport.resume_reading
                )()

    def _from_client(self, data: bytes) -> None:
        mode = self._link.mode
        if mode == "late" and self._link.is_unlucky(data):
            self._link.deliver_late(data)
            self._abort()
            return
        self._loses_reply |= mode == "lossy" and self._link.is_unlucky(data)
        if self._redis.transport:
            self._redis.write(data)
        else:
            self._early.append(data)

    def _from_redis(self, data: bytes) -> None:
        if self._loses_reply:
            self._abort()
        else:
            self.client.write(data)

    def _close(self) -> None:
        """One side has gone: what it sent is still passed on, then the other goes, too."""
        self._link.pairs.discard(self)
        for end in (self.client, self._redis):
            if end.transport:
                end.transport.close()

    def _abort(self) -> None:
        """Reset both sides."""
        self._link.pairs.discard(self)
        for end in (self.client, self._redis):
            if end.transport:
                end.transport.abort()


def accept(link: Link) -> End:
    """A client has connected."""
    pair = Pair(link)
    opening = asyncio.get_running_loop().create_task(pair.open())
    opening.add_done_callback(lambda task: task.exception())
    return pair.client


async def serve(redis_port: int, seed: str, places: dict[str, str]) -> None:
    """Listen until the standard input ends."""
    loop = asyncio.get_running_loop()
    links = {name: Link(redis_port, Random(seed + name)) for name in places}  # noqa: S311  # no secret
    for name, place in places.items():
        host, _, port = place.rpartition(":")
        link = links[name]
        await loop.create_server(lambda link=link: accept(link), host or LOOPBACK, int(port))  # type: ignore[misc]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        name, mode = line.decode().split()
        if mode in get_args(Mode):
            links[name].turn(cast("Mode", mode))


if __name__ == "__main__":
    uvloop.run(
        serve(int(sys.argv[1]), sys.argv[2], dict(each.split("=", 1) for each in sys.argv[3:]))
    )

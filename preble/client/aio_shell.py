"""What `AsyncClient` does on the network: as `sync_shell`, awaited."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import httpx2

from preble.client.attempts import Attempts, Patience
from preble.client.calls import Calls
from preble.client.connection import arguments, options
from preble.client.events import JobEvent, JobEvents
from preble.client.exchange import Exchange, Program
from preble.client.retries import Outcome
from preble.clock import Clock

T = TypeVar("T")


class AsyncShell:
    """Runs programs. The arguments are those of `AsyncClient`.

    Raises:
        ConfigError: If the URL is none.
    """

    def __init__(
        self, url: str, *, api_key: str, retry_for_s: float,
        transport: httpx2.AsyncBaseTransport | None, clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._retry_for_s = retry_for_s
        self._clock = clock
        self._sleep = sleep
        self.attempts = Attempts(url, retry_for_s=retry_for_s, clock=clock)
        self.calls = Calls(self.attempts)
        self._http = httpx2.AsyncClient(**options(url, api_key), transport=transport)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def run(self, program: Program[T]) -> T:
        """Do what a program asks for, and return what it makes of it."""
        try:
            exchange = next(program)
            while True:
                exchange = program.send(await self._attempt(exchange))
        except StopIteration as done:
            value: T = done.value
            return value

    async def events(self, job_id: str) -> AsyncIterator[JobEvent]:
        """What happens to a job. Raises: as `Client.stream`."""
        events = JobEvents(job_id, self.attempts, Patience(self._retry_for_s, self._clock))
        while not events.is_over:
            async for event in self._connection(events):
                yield event

    async def _attempt(self, exchange: Exchange) -> Outcome:
        if exchange.pause_s:
            await self._sleep(exchange.pause_s)
        try:
            return await self._http.request(**arguments(exchange))
        except httpx2.TransportError as error:
            return error

    async def _connection(self, events: JobEvents) -> AsyncIterator[JobEvent]:
        """The events of one connection."""
        exchange = events.connect()
        if exchange.pause_s:
            await self._sleep(exchange.pause_s)
        try:
            async with self._http.stream(**arguments(exchange)) as reply:
                if not reply.is_success:
                    await reply.aread()
                    events.refused(reply)
                    return
                async for chunk in reply.aiter_bytes():
                    for event in events.take(chunk):
                        yield event
        except httpx2.TransportError as error:
            events.broke(error)
            return
        if not events.is_over:
            events.broke(None)

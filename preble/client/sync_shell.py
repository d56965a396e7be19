"""What `Client` does on the network: one attempt after the other, as programs ask for them."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import httpx2

from preble.client.attempts import Attempts, Patience
from preble.client.calls import Calls
from preble.client.connection import arguments, options
from preble.client.errors import ServerUnreachable
from preble.client.events import JobEvent, JobEvents
from preble.client.exchange import Exchange, Program, refusal
from preble.client.retries import Outcome
from preble.clock import Clock

T = TypeVar("T")


class Shell:
    """Runs programs. The arguments are those of `Client`.

    Raises:
        ConfigError: If the URL is none.
    """

    def __init__(
        self, url: str, *, api_key: str, retry_for_s: float,
        transport: httpx2.BaseTransport | None, clock: Clock, sleep: Callable[[float], None],
    ) -> None:  # fmt: skip
        self._retry_for_s = retry_for_s
        self._clock = clock
        self._sleep = sleep
        self.attempts = Attempts(url, retry_for_s=retry_for_s, clock=clock)
        self.calls = Calls(self.attempts)
        self._http = httpx2.Client(**options(url, api_key), transport=transport)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def run(self, program: Program[T]) -> T:
        """Do what a program asks for, and return what it makes of it."""
        try:
            exchange = next(program)
            while True:
                exchange = program.send(self._attempt(exchange))
        except StopIteration as done:
            value: T = done.value
            return value

    def events(self, job_id: str) -> Iterator[JobEvent]:
        """What happens to a job. Raises: as `Client.stream`."""
        events = JobEvents(job_id, self.attempts, Patience(self._retry_for_s, self._clock))
        while not events.is_over:
            yield from self._connection(events)

    def download(self, path: str) -> Iterator[bytes]:
        """What stands under a path, a piece at a time.

        Raises:
            RequestRefused: If the api refuses it.
            ServerUnreachable: If the connection breaks; nothing is tried again.
        """
        try:
            with self._http.stream("GET", path) as reply:
                if not reply.is_success:
                    reply.read()
                    raise refusal(reply)
                yield from reply.iter_bytes()
        except httpx2.TransportError as error:
            raise ServerUnreachable(self.attempts.why(error)) from error

    def _attempt(self, exchange: Exchange) -> Outcome:
        if exchange.pause_s:
            self._sleep(exchange.pause_s)
        try:
            return self._http.request(**arguments(exchange))
        except httpx2.TransportError as error:
            return error

    def _connection(self, events: JobEvents) -> Iterator[JobEvent]:
        """The events of one connection."""
        exchange = events.connect()
        if exchange.pause_s:
            self._sleep(exchange.pause_s)
        try:
            with self._http.stream(**arguments(exchange)) as reply:
                if not reply.is_success:
                    reply.read()
                    events.refused(reply)
                    return
                for chunk in reply.iter_bytes():
                    yield from events.take(chunk)
        except httpx2.TransportError as error:
            events.broke(error)
            return
        if not events.is_over:
            events.broke(None)

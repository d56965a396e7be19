"""A running SGLang or vLLM server, named by its URL; a `Dialect` knows how to speak to it.

What the server holds it says itself, if it publishes KV events (`ReportedPages`); otherwise it
is taken from the requests that it has completed (`AssumedPages`).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final
from uuid import uuid4

import msgspec

from preble.clock import Clock
from preble.errors import ConfigError, EngineUnavailable
from preble_workers.assumed_pages import AssumedPages
from preble_workers.dialect import Dialect, ReplyReader, ServerFacts
from preble_workers.dialects import find_dialect, tell
from preble_workers.engine import Completion, EngineInfo, EngineRequest, OnTokens, PageEvent
from preble_workers.page_source import PageSource
from preble_workers.reported_pages import ReportedPages
from preble_workers.server_client import ServerClient
from preble_workers.token_teller import TokenTeller

_STREAM_END: Final = "[DONE]"
_MAX_FLUSHES: Final = 3
_START_POLL_S: Final = 0.2

_log = logging.getLogger(__name__)


class HttpEngine:
    """Speaks to one server.

    Args:
        url: Where it listens, without a path.
        assumed: What it takes, where it does not say itself; `slots` also bounds what it says.
        block_size: The pool's; must be made of whole pages of the server.
        clock: Measures TTFT.
        start_timeout_s: How long `start` waits for the server.
        pulse_s: Silence after which the server is asked whether it steps.
        assumed_ttl_s: How long a page is assumed to be held that no request has used.
    """

    def __init__(
        self,
        url: str,
        *,
        assumed: EngineInfo,
        block_size: int,
        clock: Clock,
        start_timeout_s: float = 10.0,
        pulse_s: float = 2.0,
        assumed_ttl_s: float = 600.0,
    ) -> None:
        self._url = url
        self._block_size = block_size
        self._clock = clock
        self._start_timeout_s = start_timeout_s
        self._pulse_s = pulse_s
        self._assumed_ttl_s = assumed_ttl_s
        self._steps = 0
        self._is_closed = False
        self._calls: set[asyncio.Timeout] = set()
        self._busy = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._watcher: asyncio.Task[None] | None = None
        self._identity: object = None
        self._flushes = 0
        """In a row, without a KV event that could be followed."""
        self._closed = asyncio.Event()
        self._aborts: set[asyncio.Task[None]] = set()
        self._client = ServerClient(url, slots=assumed.slots, on_refused=self._refused)
        self._dialect: Dialect | None = None
        self._info = assumed
        self._pages: PageSource = self._assumed_pages(assumed)

    async def start(self) -> EngineInfo:
        """Wait for the server and ask what it takes; later, whether it is back as it was.

        Raises:
            ConfigError: If this is neither SGLang nor vLLM, or one of no use here, if its pages
                do not divide the pool's blocks, or if it has come back with another page size.
            EngineUnavailable: If nothing answers in time.
        """
        facts = await self._ask_server()
        if self._watcher is None:
            tell(facts, self._url)
            self._pages = self._page_source(facts)
            self._watcher = asyncio.create_task(self._watch(), name="engine-watcher")
        elif facts.info.page_size != self._info.page_size:
            size = facts.info.page_size
            msg = f"the server at {self._url} has another page_size {size} than before"
            raise ConfigError(msg)
        elif facts.identity != self._identity:
            self._pages.restarted()
        self._identity = facts.identity
        self._info = facts.info
        return facts.info

    async def generate(self, request: EngineRequest, on_tokens: OnTokens) -> Completion:
        """Complete one prompt.

        Raises:
            EngineRefused: If the server answers with a client's error.
            EngineUnavailable: If it cannot be reached, breaks off, aborts or fails.
        """
        if self._is_closed:
            raise self._closed_error()
        # A timeout without a time is a scope that `close` can end, and only `close`.
        call = asyncio.timeout(None)
        try:
            async with call:
                self._calls.add(call)
                self._idle.clear()
                self._busy.set()
                completion = await self._call(request, on_tokens)
        except TimeoutError:
            raise self._closed_error() from None
        finally:
            self._calls.discard(call)
            if not self._calls:
                self._busy.clear()
                self._idle.set()
        self._pages.completed(request, completion)
        return completion

    def page_events(self) -> AsyncGenerator[list[PageEvent]]:
        """What the server says, or is assumed, to have stored and evicted."""
        return self._pages.batches()

    async def flush(self) -> None:
        """Empty the server's cache; if it never can, assume from now on what it holds.

        Raises:
            EngineUnavailable: While it runs requests.
        """
        is_flushed = await self._present().flush()
        self._flushes += 1
        if not is_flushed:
            self._assume_from_now("the server's cache cannot be emptied")
        elif self._flushes > _MAX_FLUSHES:
            self._assume_from_now("no KV events can be followed")
        self._pages.flushed()

    async def lost(self) -> None:
        """Until `close`: whether a server elsewhere has died, only a request tells."""
        await self._closed.wait()

    async def is_healthy(self) -> bool:
        """Whether the server computes, as it says itself."""
        return await self._present().is_stepping()

    @property
    def steps(self) -> int:
        """Grows with each token, KV event and step that the server tells of; idle, by reading."""
        if not self._calls:
            self._steps += 1
        return self._steps

    async def close(self) -> None:
        """End all calls, abort them in the server, and release the connections."""
        self._is_closed = True
        self._closed.set()
        self._pages.close()
        for call in self._calls:
            call.reschedule(asyncio.get_running_loop().time())
        await self._idle.wait()
        await asyncio.gather(*self._aborts)
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
        await self._client.close()

    def _present(self) -> Dialect:
        if self._dialect is None:
            raise EngineUnavailable(f"the server at {self._url} has not been asked yet")
        return self._dialect

    async def _call(self, request: EngineRequest, on_tokens: OnTokens) -> Completion:
        # Unique, for SGLang refuses an id that is still running: a job that is run again
        # may meet its own aborted execution.
        rid = f"{request.job_id}-{uuid4().hex}"
        dialect = self._present()
        try:
            reader = dialect.reader(TokenTeller(request, on_tokens, self._pages.prefilled))
            return await self._stream(dialect, dialect.body(request, rid), reader)
        except asyncio.CancelledError:
            self._abort_soon(dialect, rid)
            raise

    async def _stream(self, dialect: Dialect, body: bytes, reader: ReplyReader) -> Completion:
        sent_at_s = self._clock.now_s()
        ttft_s: float | None = None
        async with aclosing(self._client.events(dialect.generate_path, body)) as events:
            async for event in events:
                self._steps += 1
                if ttft_s is None:
                    ttft_s = self._clock.now_s() - sent_at_s
                if event != _STREAM_END:
                    reader.read(event)
        return reader.completion(ttft_s=ttft_s or 0.0)

    def _abort_soon(self, dialect: Dialect, rid: str) -> None:
        """In a task of its own, so that cancelling a call takes no time."""
        task = asyncio.create_task(_abort(dialect, rid))
        self._aborts.add(task)
        task.add_done_callback(self._aborts.discard)

    async def _watch(self) -> None:
        while True:
            await self._busy.wait()
            steps = self._steps
            await asyncio.sleep(self._pulse_s)
            if self._steps == steps and await self.is_healthy():
                self._steps += 1

    async def _ask_server(self) -> ServerFacts:
        """What it offers. Raises: ConfigError if that is of no use here."""
        if self._dialect is None:
            self._dialect = await self._find_dialect()
        facts = await self._dialect.ask(self._info)
        if self._block_size % facts.info.page_size:
            msg = (
                f"the server's page_size {facts.info.page_size} does not divide the pool's "
                f"block_size {self._block_size}; start one of them with another"
            )
            raise ConfigError(msg)
        return facts

    async def _find_dialect(self) -> Dialect:
        """Poll until the server answers, for it may still be starting."""
        deadline_s = self._clock.now_s() + self._start_timeout_s
        while True:
            try:
                return await find_dialect(self._client)
            except EngineUnavailable:
                if self._clock.now_s() >= deadline_s:
                    raise
            await asyncio.sleep(_START_POLL_S)

    def _page_source(self, facts: ServerFacts) -> PageSource:
        if facts.events is None or not facts.info.has_kv_cache:
            _log.info("the server at %s reports no KV events: what it holds is assumed", self._url)
            return self._assumed_pages(facts.info)
        _log.info("following the KV events at %s", facts.events.events)
        dialect, page_size = self._present(), facts.info.page_size
        return ReportedPages(
            facts.events,
            event_reader=lambda: dialect.event_reader(page_size),
            on_batch=self._followed,
        )

    def _assumed_pages(self, info: EngineInfo) -> AssumedPages:
        if not info.has_kv_cache:
            info = msgspec.structs.replace(info, kv_capacity_tokens=0)
        return AssumedPages(info, ttl_s=self._assumed_ttl_s, clock=self._clock)

    def _assume_from_now(self, why: str) -> None:
        _log.warning("%s: what the server holds is assumed from now", why)
        self._pages.close()
        self._pages = self._assumed_pages(self._info)

    def _followed(self) -> None:
        self._steps += 1
        self._flushes = 0

    def _refused(self) -> None:
        """A server that refuses connections does not run, and has lost its cache."""
        self._pages.restarted()

    @staticmethod
    def _closed_error() -> EngineUnavailable:
        return EngineUnavailable("the engine is closed")


async def _abort(dialect: Dialect, rid: str) -> None:
    """Best effort: the server also aborts by itself once it sees the connection closed."""
    with contextlib.suppress(EngineUnavailable):
        await dialect.abort(rid)

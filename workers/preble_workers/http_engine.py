"""A running SGLang server, named by its URL.

Each request is one streamed `POST /generate`; cancelling it posts `/abort_request`. While a
long prefill keeps all streams silent, `/health_generate` tells whether the server still steps:
a busy one answers it after its next step, at no cost.

What the server holds it says itself, if it publishes KV events (`ReportedPages`); otherwise it
is taken from the requests that it has completed (`AssumedPages`).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping
from typing import Final
from uuid import uuid4

import httpx2
import msgspec

from preble.clock import Clock
from preble.errors import ConfigError, EngineUnavailable
from preble_workers.assumed_pages import AssumedPages
from preble_workers.engine import Completion, EngineInfo, EngineRequest, OnTokens, PageEvent
from preble_workers.kv_events import endpoints_of
from preble_workers.page_source import PageSource
from preble_workers.reported_pages import ReportedPages
from preble_workers.sglang_wire import (
    STREAM_END,
    StreamReader,
    engine_error,
    engine_info,
    error_message,
    generate_body,
    parse_completion,
    server_identity,
)

# No read timeout: a request may wait long in the engine; `steps` tells whether it hangs.
_TIMEOUT: Final = httpx2.Timeout(connect=5.0, read=None, write=30.0, pool=None)
_SHORT_TIMEOUT: Final = httpx2.Timeout(5.0)
_HEALTH_TIMEOUT: Final = httpx2.Timeout(20.0)
"""SGLang itself gives up after as long."""
_SPARE_CONNECTIONS: Final = 8
"""Beside one for each slot: aborts, and calls that are about to be refused."""
_MAX_FLUSHES: Final = 3
_START_POLL_S: Final = 0.2
_MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
_JSON: Final = {"content-type": "application/json"}

_log = logging.getLogger(__name__)


class HttpEngine:
    """Speaks to one SGLang server.

    Args:
        url: Where it listens, without a path.
        assumed: What it takes, where it does not say itself; `slots` also bounds what it says.
        block_size: The pool's; must be made of whole pages of the server.
        clock: Measures TTFT.
        start_timeout_s: How long `start` waits for the server.
        pulse_s: Silence after which the server's health is asked.
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
    ) -> None:
        self._url = url
        self._block_size = block_size
        self._clock = clock
        self._start_timeout_s = start_timeout_s
        self._pulse_s = pulse_s
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
        connections = assumed.slots + _SPARE_CONNECTIONS
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        # Proxies of the environment are for the internet, not for an engine.
        self._client = httpx2.AsyncClient(
            base_url=url, timeout=_TIMEOUT, limits=limits, trust_env=False
        )
        self._info = assumed
        self._pages: PageSource = AssumedPages(assumed)

    async def start(self) -> EngineInfo:
        """Wait for the server and ask what it takes; later, whether it is back as it was.

        Raises:
            ConfigError: If this is no SGLang that generates text, if its pages do not divide
                the pool's blocks, or if it has come back with another page size.
            EngineUnavailable: If nothing answers in time.
        """
        server_info = await self._ask_server()
        info = engine_info(server_info, self._info)
        identity = server_identity(server_info)
        if self._watcher is None:
            self._pages = self._page_source(info, server_info)
            self._watcher = asyncio.create_task(self._watch(), name="engine-watcher")
        elif info.page_size != self._info.page_size:
            msg = f"the server at {self._url} has another page_size {info.page_size} than before"
            raise ConfigError(msg)
        elif identity != self._identity:
            self._pages.restarted()
        self._identity = identity
        self._info = info
        return info

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
        """Empty the server's cache. Raises: EngineUnavailable while it runs requests."""
        try:
            response = await self._client.post("/flush_cache", timeout=_HEALTH_TIMEOUT)
        except httpx2.RequestError as error:
            raise self._unavailable(error) from error
        if not response.is_success:
            raise EngineUnavailable(f"the engine's cache cannot be emptied now: {response.text}")
        self._flushes += 1
        if self._flushes > _MAX_FLUSHES:
            _log.warning("no KV events can be followed: what the server holds is assumed from now")
            self._pages.close()
            self._pages = AssumedPages(self._info)
        self._pages.flushed()

    async def lost(self) -> None:
        """Until `close`: whether a server elsewhere has died, only a request tells."""
        await self._closed.wait()

    async def is_healthy(self) -> bool:
        """Whether the server steps: it answers when a request of its own has made a step."""
        try:
            response = await self._client.get("/health_generate", timeout=_HEALTH_TIMEOUT)
        except httpx2.RequestError:
            return False
        return response.is_success

    @property
    def steps(self) -> int:
        """Grows with each token, KV event and passed health check; while idle, by reading it."""
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
        await self._client.aclose()

    async def _call(self, request: EngineRequest, on_tokens: OnTokens) -> Completion:
        # Unique, for SGLang refuses an id that is still running: a job that is run again
        # may meet its own aborted execution.
        rid = f"{request.job_id}-{uuid4().hex}"
        try:
            reader = StreamReader(request, on_tokens, self._pages.prefilled)
            return await self._stream(generate_body(request, rid), reader)
        except asyncio.CancelledError:
            self._abort_soon(rid)
            raise
        except httpx2.RequestError as error:
            raise self._unavailable(error) from error

    async def _stream(self, body: bytes, reader: StreamReader) -> Completion:
        """Read to the end; the first event's time and the last event's data make the answer."""
        sent_at_s = self._clock.now_s()
        ttft_s: float | None = None
        last = ""
        async with self._client.stream(
            "POST", "/generate", content=body, headers=_JSON
        ) as response:
            if not response.is_success:
                raise engine_error(response.status_code, error_message(await response.aread()))
            async for event in httpx2.EventSource(response, max_event_size=_MAX_EVENT_BYTES):
                self._steps += 1
                if ttft_s is None:
                    ttft_s = self._clock.now_s() - sent_at_s
                if event.data != STREAM_END:
                    last = event.data
                    reader.read(last)
        return parse_completion(last, ttft_s=ttft_s or 0.0)

    def _abort_soon(self, rid: str) -> None:
        """In a task of its own, so that cancelling a call takes no time."""
        task = asyncio.create_task(self._abort(rid))
        self._aborts.add(task)
        task.add_done_callback(self._aborts.discard)

    async def _abort(self, rid: str) -> None:
        """Best effort: the server also aborts by itself once it sees the connection closed."""
        with contextlib.suppress(httpx2.RequestError):
            await self._client.post(
                "/abort_request",
                content=msgspec.json.encode({"rid": rid}),
                headers=_JSON,
                timeout=_SHORT_TIMEOUT,
            )

    async def _watch(self) -> None:
        while True:
            await self._busy.wait()
            steps = self._steps
            await asyncio.sleep(self._pulse_s)
            if self._steps == steps and await self.is_healthy():
                self._steps += 1

    async def _ask_server(self) -> Mapping[str, object]:
        """Its `/server_info`. Raises: ConfigError if it is of no use here."""
        model_info = await self._model_info()
        if model_info.get("is_generation") is False:
            msg = f"the model at {self._url} does not generate text"
            raise ConfigError(msg)
        # It is answered between two steps, and a step may be long.
        server_info = await self._get("/server_info", within=_HEALTH_TIMEOUT) or {}
        if server_info.get("incremental_streaming_output"):
            msg = f"the server at {self._url} streams pieces: --incremental-streaming-output"
            raise ConfigError(f"{msg} must be off")
        info = engine_info(server_info, self._info)
        if self._block_size % info.page_size:
            msg = (
                f"the server's page_size {info.page_size} does not divide the pool's "
                f"block_size {self._block_size}; start it with another --page-size"
            )
            raise ConfigError(msg)
        return server_info

    async def _model_info(self) -> dict[str, object]:
        """Poll until the server answers, for it may still be starting."""
        deadline_s = self._clock.now_s() + self._start_timeout_s
        while True:
            try:
                model_info = await self._get("/model_info")
            except EngineUnavailable:
                if self._clock.now_s() >= deadline_s:
                    raise
            else:
                if model_info is None:
                    msg = f"{self._url} does not answer like SGLang: no /model_info"
                    raise ConfigError(msg)
                return model_info
            await asyncio.sleep(_START_POLL_S)

    async def _get(
        self, path: str, *, within: httpx2.Timeout = _SHORT_TIMEOUT
    ) -> dict[str, object] | None:
        """A JSON object from the server; None if it has nothing of that name.

        Raises:
            EngineUnavailable: If the server cannot be reached or is not ready.
        """
        try:
            response = await self._client.get(path, timeout=within)
        except httpx2.RequestError as error:
            raise self._unavailable(error) from error
        if response.is_server_error:
            raise engine_error(response.status_code, error_message(response.content))
        with contextlib.suppress(msgspec.DecodeError):
            if response.is_success:
                return msgspec.json.decode(response.content, type=dict[str, object])
        return None

    def _page_source(self, info: EngineInfo, server_info: Mapping[str, object]) -> PageSource:
        endpoints = endpoints_of(server_info, self._url)
        if endpoints is None:
            _log.info("the server at %s reports no KV events: what it holds is assumed", self._url)
            return AssumedPages(info)
        _log.info("following the KV events at %s", endpoints.events)
        return ReportedPages(endpoints, page_size=info.page_size, on_batch=self._followed)

    def _followed(self) -> None:
        self._steps += 1
        self._flushes = 0

    def _unavailable(self, error: httpx2.RequestError) -> EngineUnavailable:
        """The error to raise. Changes: who refuses connections is taken to have lost its cache."""
        if isinstance(error, httpx2.ConnectError):
            self._pages.restarted()
        reason = str(error) or type(error).__name__
        return EngineUnavailable(f"no connection to the engine at {self._url}: {reason}")

    @staticmethod
    def _closed_error() -> EngineUnavailable:
        return EngineUnavailable("the engine is closed")

"""HTTP to one engine server: JSON, text and event streams, and what a failure of each means."""

import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Final

import httpx2
import msgspec

from preble.errors import EngineUnavailable
from preble_workers.wire_errors import engine_error, error_message

# No read timeout: a request may wait long in the engine; `steps` tells whether it hangs.
_TIMEOUT: Final = httpx2.Timeout(connect=5.0, read=None, write=30.0, pool=None)
SHORT_TIMEOUT: Final = httpx2.Timeout(5.0)
STEP_TIMEOUT: Final = httpx2.Timeout(20.0)
"""For what is answered between two steps, of which one may be long; SGLang gives up then, too."""
_SPARE_CONNECTIONS: Final = 8
"""Beside one for each slot: aborts, and calls that are about to be refused."""
_MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
_JSON: Final = {"content-type": "application/json"}


class ServerClient:
    """Speaks HTTP to one server.

    Args:
        url: Where it listens, without a path.
        slots: Streams that are open at once.
        on_refused: Called when it refuses a connection: then it does not run.
    """

    def __init__(self, url: str, *, slots: int, on_refused: Callable[[], None]) -> None:
        self.url = url
        self._on_refused = on_refused
        connections = slots + _SPARE_CONNECTIONS
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        # Proxies of the environment are for the internet, not for an engine.
        self._client = httpx2.AsyncClient(
            base_url=url, timeout=_TIMEOUT, limits=limits, trust_env=False
        )

    async def get(
        self, path: str, *, within: httpx2.Timeout = SHORT_TIMEOUT
    ) -> dict[str, object] | None:
        """A JSON object from the server; None if it has nothing of that name.

        Raises:
            EngineUnavailable: If the server cannot be reached or is not ready.
        """
        body = await self._body(path, within)
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(body, type=dict[str, object])
        return None

    async def text(self, path: str) -> str:
        """Text from the server; empty if it has none of that name.

        Raises:
            EngineUnavailable: If the server cannot be reached or is not ready.
        """
        return (await self._body(path, SHORT_TIMEOUT)).decode(errors="replace")

    async def is_success(self, path: str) -> bool:
        """Whether a page is answered well; False also if nothing answers."""
        try:
            response = await self._client.get(path, timeout=STEP_TIMEOUT)
        except httpx2.RequestError:
            return False
        return response.is_success

    async def post(
        self, path: str, body: object = None, *, within: httpx2.Timeout = STEP_TIMEOUT
    ) -> httpx2.Response:
        """Any answer to a call. Raises: EngineUnavailable if there is none."""
        content = b"" if body is None else msgspec.json.encode(body)
        try:
            return await self._client.post(path, content=content, headers=_JSON, timeout=within)
        except httpx2.RequestError as error:
            raise self._unavailable(error) from error

    async def events(self, path: str, body: bytes) -> AsyncGenerator[str]:
        """The data of each server-sent event that answers a POST; leaving early disconnects.

        Raises:
            EngineRefused: If the server answers with a client's error.
            EngineUnavailable: If it cannot be reached, fails or breaks off.
        """
        try:
            async with self._client.stream("POST", path, content=body, headers=_JSON) as response:
                if not response.is_success:
                    message = error_message(await response.aread())
                    raise engine_error(response.status_code, message)
                source = httpx2.EventSource(response, max_event_size=_MAX_EVENT_BYTES)
                async for event in source:
                    yield event.data
        except httpx2.RequestError as error:
            raise self._unavailable(error) from error

    async def close(self) -> None:
        """Release the connections."""
        await self._client.aclose()

    async def _body(self, path: str, within: httpx2.Timeout) -> bytes:
        """Of a page; empty if the server has none of that name. Raises: EngineUnavailable."""
        try:
            response = await self._client.get(path, timeout=within)
        except httpx2.RequestError as error:
            raise self._unavailable(error) from error
        if response.is_server_error:
            raise engine_error(response.status_code, error_message(response.content))
        return response.content if response.is_success else b""

    def _unavailable(self, error: httpx2.RequestError) -> EngineUnavailable:
        if isinstance(error, httpx2.ConnectError):
            self._on_refused()
        reason = str(error) or type(error).__name__
        return EngineUnavailable(f"no connection to the engine at {self.url}: {reason}")

"""One attempt to deliver an event: one request, to one address that was checked.

Nothing else is asked on the way: no redirect is followed, no proxy of the environment used, no
cookie kept, no connection used again, for the next may be for another name at the same address.
"""

import asyncio
from collections.abc import AsyncIterable, Mapping
from http import HTTPStatus
from typing import Final, cast

import httpx2

from preble_api.webhooks.addresses import Guard, TargetUnknown
from preble_api.webhooks.targets import Target

TIMEOUT_S: Final = 10.0
"""From the lookup of the name to the answer."""

ANSWER_BYTES: Final = 4_096
"""Of an answer, that are read at most."""

_TIMEOUTS: Final = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)


class PostFailed(Exception):
    """An event was not taken; says why, in words that hold nothing of the URL."""


class Poster:
    """Posts events.

    Args:
        guard: Says where to.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        # A transport alone, for a client of httpx2 would keep cookies and ask proxies.
        self._transport = httpx2.AsyncHTTPTransport(
            limits=httpx2.Limits(max_keepalive_connections=0)
        )

    async def close(self) -> None:
        """Release what it holds."""
        self._guard.close()
        await self._transport.aclose()

    async def post(
        self, target: Target, body: bytes, headers: Mapping[str, str], *, attempt: int,
        tenant: str,
    ) -> None:  # fmt: skip
        """Return once the receiver has answered with a 2xx.

        Raises:
            TargetRefused: If it is where none may be told.
            LookupsCrowded: If its name could not be looked up; that is no attempt.
            PostFailed: In any other case.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                address = await self._guard.address_of(target, attempt=attempt, tenant=tenant)
                await self._send(_request(target, address, body, headers))
        except TimeoutError:
            msg = f"no answer within {TIMEOUT_S:.0f} s"
            raise PostFailed(msg) from None
        except TargetUnknown as error:
            raise PostFailed(str(error)) from None
        except httpx2.TransportError as error:
            msg = f"no answer: {type(error).__name__}"
            raise PostFailed(msg) from None

    async def _send(self, request: httpx2.Request) -> None:
        response = await self._transport.handle_async_request(request)
        try:
            _require_taken(response)
            await _read_some(cast("AsyncIterable[bytes]", response.stream))
        finally:
            await response.aclose()


def _request(
    target: Target, address: str, body: bytes, headers: Mapping[str, str]
) -> httpx2.Request:
    """To the address, in the name of the host: for its certificate, and in `Host`."""
    own = {
        "host": target.url.netloc.decode(),
        "content-type": "application/json",
        "user-agent": "preble-webhooks",
        "connection": "close",
    }
    return httpx2.Request(
        "POST", target.url.copy_with(host=address), headers={**own, **headers}, content=body,
        extensions={"timeout": _TIMEOUTS, "sni_hostname": target.host},
    )  # fmt: skip


def _require_taken(response: httpx2.Response) -> None:
    status = response.status_code
    if HTTPStatus(200) <= status < HTTPStatus(300):
        return
    why = "; redirects are not followed" if response.has_redirect_location else ""
    msg = f"answered {status}{why}"
    raise PostFailed(msg)


async def _read_some(stream: AsyncIterable[bytes]) -> None:
    """Let the receiver say its word, if it is short."""
    read = 0
    async for chunk in stream:
        read += len(chunk)
        if read > ANSWER_BYTES:
            return

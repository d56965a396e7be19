"""How much may be sent: checked before a body is read, and while it comes.

A body counts from its first bytes until its jobs are in the queue; what waits for their ends holds
none. Each principal may have as much as is left, so that whoever sends slowly leaves room:

    alone ─▶ half of all        one other, who took that ─▶ a quarter        and so on
"""

from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from preble_api.asgi import header
from preble_api.errors import HttpError
from preble_api.principal import principal_of

BODIES_AT_ONCE: Final = 2
"""Bodies of the greatest size that one principal may send at once, while nobody else does."""

SMALL_BYTES: Final = 64 * 1024
"""Of each body that count for nothing: what is small always passes; connections bound it."""

_RETRY_AFTER_S: Final = 1.0
_BODY: Final = "preble.body"


class BodyLimit:
    """ASGI middleware that bounds bodies, each alone and all together.

    A body that says how long it is is refused before a byte is read; any other while it
    arrives, with no more than the limit in memory.

    Args:
        app: What it guards.
        max_body_bytes: Of one body.
        streamed: Most bytes by path, of bodies that their routes do not hold but bound themselves.
    """

    def __init__(
        self, app: ASGIApp, *, max_body_bytes: int, streamed: Mapping[str, int] | None = None
    ) -> None:
        self._app = app
        self._most = max_body_bytes
        self._room = _Room(2 * BODIES_AT_ONCE * max_body_bytes)
        self._streamed = streamed or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request. Raises: HttpError (413 or 429) if its body is too much."""
        if scope["type"] != "http" or scope["method"] == "GET":
            await self._app(scope, receive, send)
            return
        most = self._streamed.get(scope["path"])
        _require_length(scope, self._most if most is None else most)
        if most is not None:
            await self._app(scope, receive, send)
            return
        body = scope[_BODY] = _Body(self._room, scope, self._most)

        async def counted() -> Message:
            message = await receive()
            body.grow(len(message.get("body", b"")))
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            body.release()


def let_go(request: Request) -> None:
    """Drop the body of a request that has no more use for it, but may go on for a day."""
    body: _Body = request.scope[_BODY]
    body.release()
    request._body = b""  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # it has no other way


class _Room:
    """The bytes that bodies hold, by tenant; None is the operator."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str | None] = Counter()

    def take(self, tenant: str | None, more: int) -> None:
        """Raises: HttpError (429) if the tenant would hold more than is left."""
        left = self._most - self._held.total() - more
        if self._held[tenant] + more > left:
            raise HttpError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too_many_bytes",
                "more bytes of your requests are being read than are left for others",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._held[tenant] += more

    def give(self, tenant: str | None, less: int) -> None:
        self._held[tenant] -= less
        if not self._held[tenant]:
            del self._held[tenant]


class _Body:
    """What one body holds."""

    def __init__(self, room: _Room, scope: Scope, most: int) -> None:
        self._room = room
        self._scope = scope
        self._most = most
        self._size = self._counted = 0

    def grow(self, more: int) -> None:
        """Raises: HttpError if the body is too large, or there is no room."""
        self._size += more
        if self._size > self._most:
            raise _too_large(self._most)
        beyond = self._size - SMALL_BYTES - self._counted
        if beyond > 0:
            self._room.take(self._tenant, beyond)
            self._counted += beyond

    def release(self) -> None:
        """Count it no more."""
        if self._counted:
            self._room.give(self._tenant, self._counted)
            self._counted = 0

    @property
    def _tenant(self) -> str | None:
        return principal_of(self._scope).tenant


def _require_length(scope: Scope, most: int) -> None:
    declared = header(scope, b"content-length")
    if declared and declared.isdigit() and int(declared) > most:
        raise _too_large(most)


def _too_large(most: int) -> HttpError:
    return HttpError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body_too_large",
        f"the body has more than {most} bytes",
    )

"""How much may be sent: checked before a body is read, and while it comes."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from preble_api.asgi import header
from preble_api.errors import HttpError

BODIES_AT_ONCE: Final = 2
"""Bodies of the greatest size that are held at once, by all requests together."""

_RETRY_AFTER_S: Final = 1.0


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
        self._most_together = BODIES_AT_ONCE * max_body_bytes
        self._streamed = streamed or {}
        self._held = 0

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
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            more = len(message.get("body", b""))
            size += more
            self._held += more
            self._require_room(size)
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._held -= size

    def _require_room(self, size: int) -> None:
        if size > self._most:
            raise _too_large(self._most)
        if self._held > self._most_together:
            raise HttpError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too_many_bytes",
                f"more than {self._most_together} bytes of requests are being read",
                retry_after_s=_RETRY_AFTER_S,
            )


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

"""Who may ask, and how much may be sent: checked before a body is read."""

import hmac
from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from preble_api.asgi import header
from preble_api.errors import HttpError

OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/health", "/docs", "/openapi.json"})
"""Answered without a key: probes have none, and the documentation holds nothing secret."""

BODIES_AT_ONCE: Final = 2
"""Bodies of the greatest size that are held at once, by all requests together."""

_SCHEME: Final = b"bearer"
_RETRY_AFTER_S: Final = 1.0


class ApiKey:
    """ASGI middleware that asks for `Authorization: Bearer <key>`.

    Args:
        app: What it guards.
        key: Not empty.
    """

    def __init__(self, app: ASGIApp, *, key: str) -> None:
        self._app = app
        self._key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that may pass. Raises: HttpError (401) otherwise."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            self._require_key(scope)
        await self._app(scope, receive, send)

    def _require_key(self, scope: Scope) -> None:
        scheme, _, key = (header(scope, b"authorization") or b"").partition(b" ")
        # Takes the same time wherever the first wrong byte is.
        if scheme.lower() != _SCHEME or not hmac.compare_digest(key.strip(), self._key):
            raise HttpError(
                HTTPStatus.UNAUTHORIZED,
                "invalid_api_key",
                "send the api key as `Authorization: Bearer <key>`",
                headers={"www-authenticate": "Bearer"},
            )


class BodyLimit:
    """ASGI middleware that bounds bodies, each alone and all together.

    A body that says how long it is is refused before a byte is read; any other while it
    arrives, with no more than the limit in memory.

    Args:
        app: What it guards.
        max_body_bytes: Of one body.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._most = max_body_bytes
        self._most_together = BODIES_AT_ONCE * max_body_bytes
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request. Raises: HttpError (413 or 429) if its body is too much."""
        if scope["type"] != "http" or scope["method"] == "GET":
            await self._app(scope, receive, send)
            return
        self._require_length(scope)
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

    def _require_length(self, scope: Scope) -> None:
        declared = header(scope, b"content-length")
        if declared and declared.isdigit() and int(declared) > self._most:
            raise self._too_large()

    def _require_room(self, size: int) -> None:
        if size > self._most:
            raise self._too_large()
        if self._held > self._most_together:
            raise HttpError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too_many_bytes",
                f"more than {self._most_together} bytes of requests are being read",
                retry_after_s=_RETRY_AFTER_S,
            )

    def _too_large(self) -> HttpError:
        return HttpError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "body_too_large",
            f"the body has more than {self._most} bytes",
        )

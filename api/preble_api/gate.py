"""Who may come in: asked before a body is read, for every route at once.

    no key was ever made, loopback, no admin key ─▶ open: whoever comes is the operator
    `Authorization: Bearer …` = PREBLE_API_KEY    ─▶ the operator; nobody is asked
    `Authorization: Bearer pk_…`                  ─▶ the key's tenant and scopes (`keyring.py`)
    a console's page, with a session's cookie     ─▶ who logged in (`console/sessions.py`)
    else                                          ─▶ 401

A route that is declared and says nothing is guarded: reading needs scope `read`, all else `submit`.
"""

from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from preble.broker.api_keys import KEY
from preble.broker.api_keys import Scope as KeyScope
from preble_api.console.paths import is_console, is_open
from preble_api.console.sessions import Sessions
from preble_api.errors import HttpError
from preble_api.key_holders import KeyHolders
from preble_api.keyring import Keyring
from preble_api.open_mode import Openness, require_no_strange_page
from preble_api.principal import ANYONE, Principal, set_principal

OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/health", "/docs", "/openapi.json"})
"""Answered without a key: probes have none, and the documentation holds nothing secret."""

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SCHEME: Final = b"bearer"


class Gate:
    """ASGI middleware; see the module.

    Args:
        app: What it guards.
        admin_key: The operator's; empty for none.
        keyring: Knows all others.
        openness: Whether no key is needed.
        sessions: Of browsers at the console, where a key may be shown by cookie.
        origins: Of web pages that may ask without one, while none is needed.
    """

    def __init__(
        self, app: ASGIApp, *, admin_key: str, keyring: Keyring, openness: Openness,
        sessions: Sessions, origins: Collection[str] = (),
    ) -> None:  # fmt: skip
        self._app = app
        self._holders = KeyHolders(admin_key, keyring)
        self._sessions = sessions
        self._openness = openness
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that may pass. Raises: HttpError (401, 403, 429), BrokerUnavailable."""
        if scope["type"] == "http" and not _needs_no_key(scope["path"]):
            principal = await self._principal(scope)
            principal.require(scope_of(scope["method"]))
            set_principal(scope, principal)
        await self._app(scope, receive, send)

    async def _principal(self, scope: Scope) -> Principal:
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        if await self._openness.is_open(is_key_shown=any(map(KEY.search, shown))):
            require_no_strange_page(scope, origins=self._origins)
            return ANYONE
        if is_console(scope["path"]) and (digest := self._sessions.digest_in(scope)):
            found = await self._holders.of_digest(digest)
        else:
            found = await self._holders.of_key(_bearer(shown))
        if found is None:
            message = "this api key is not known here: it may have expired or been revoked"
            raise _unauthorized(message)
        return found


def _needs_no_key(path: str) -> bool:
    return path in OPEN_PATHS or is_open(path)


def scope_of(method: str) -> KeyScope:
    """What a key must allow for a request of this method."""
    return "read" if method in _READING else "submit"


def _bearer(given: Sequence[bytes]) -> bytes:
    """The key that a request brings. Raises: HttpError (401) if it does not bring exactly one.

    Args:
        given: All its `Authorization` headers.
    """
    if len(given) > 1:
        # Which of them counts, a proxy before this api may see otherwise.
        raise _unauthorized("send one `Authorization` header, not several")
    scheme, _, key = (given[0] if given else b"").partition(b" ")
    if scheme.lower() != _SCHEME or not key.strip():
        raise _unauthorized("send the api key as `Authorization: Bearer <key>`")
    return key.strip()


def _unauthorized(message: str) -> HttpError:
    return HttpError(
        HTTPStatus.UNAUTHORIZED, "invalid_api_key", message, headers={"www-authenticate": "Bearer"}
    )

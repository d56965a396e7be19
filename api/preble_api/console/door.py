"""What holds for every request and every answer of the console.

Headers that keep a page to itself; forms are taken from pages of this very host alone, as a cookie
comes with whatever a browser sends; errors become pages, and who is not logged in is led to the
login.
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from preble.errors import PrebleError
from preble_api.asgi import header
from preble_api.console.paths import LOGIN, ROOT, STATIC, is_console
from preble_api.errors import HttpError, refusal

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
MOST_FORM_BYTES: Final = 4_096
_HEADERS: Final = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Not `no-referrer`: with that a browser hides the origin of our own forms, too.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_NOT_KEPT: Final = (b"cache-control", b"no-store")

ErrorPage = Callable[[HttpError], Response]


class Door:
    """ASGI middleware around the gate; see the module.

    Args:
        app: What it encloses.
        error_page: Makes a page of an error.
    """

    def __init__(self, app: ASGIApp, *, error_page: ErrorPage) -> None:
        self._app = app
        self._error_page = error_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, of the console or not."""
        if scope["type"] != "http" or not is_console(scope["path"]):
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [*message["headers"], *_headers_for(scope["path"])]
            await send(message)

        try:
            _require_own_page(scope)
            await self._app(scope, receive, send_guarded)
        except (PrebleError, HTTPException) as error:
            if has_begun:
                raise
            await self._answer(scope, refusal(error))(scope, receive, send_guarded)

    def _answer(self, scope: Scope, error: HttpError) -> Response:
        if error.status is not HTTPStatus.UNAUTHORIZED:
            return self._error_page(error)
        if header(scope, b"hx-request"):
            # A fragment has no place for the login: the page as a whole goes there.
            return Response(status_code=error.status, headers={"hx-redirect": LOGIN})
        return RedirectResponse(_login_for(scope), HTTPStatus.SEE_OTHER)


def is_own_path(path: str) -> bool:
    """Whether a login may lead there: a path of the console, which names no other host."""
    return is_console(path) and not path.startswith("//") and "\\" not in path


def is_https(scope: Scope) -> bool:
    """Whether the browser sees https, be it in front of a proxy: its own form says so."""
    return (header(scope, b"origin") or b"").startswith(b"https://")


def _login_for(scope: Scope) -> str:
    path = scope["path"]
    if scope["method"] not in {"GET", "HEAD"} or path == ROOT:
        return LOGIN
    query = scope["query_string"].decode("latin-1")
    return f"{LOGIN}?next={quote(f'{path}?{query}' if query else path)}"


def _headers_for(path: str) -> Sequence[tuple[bytes, bytes]]:
    return _HEADERS if path.startswith(f"{STATIC}/") else (*_HEADERS, _NOT_KEPT)


def _require_own_page(scope: Scope) -> None:
    """Refuse a form that another site has a browser send. Raises: HttpError (403, 413)."""
    if scope["method"] in {"GET", "HEAD"}:
        return
    host, origin = header(scope, b"host"), header(scope, b"origin") or b""
    if not host or origin.partition(b"://")[2] != host:
        message = (
            "forms of the console are taken from its own pages alone; a proxy in front of it must "
            "leave the Host header as it is"
        )
        raise HttpError(HTTPStatus.FORBIDDEN, "strange_page", message)
    _require_small(header(scope, b"content-length") or b"")


def _require_small(length: bytes) -> None:
    """Raises: HttpError (413) if a form is large, or does not say how large it is."""
    if not length.isdigit() or int(length) > MOST_FORM_BYTES:
        message = f"a form of the console has at most {MOST_FORM_BYTES} bytes"
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", message)

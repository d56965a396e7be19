"""Log in with an api key, and out again."""

from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from preble.broker.api_keys import digest_of
from preble_api.console.door import is_https, is_own_path
from preble_api.console.paths import LOGIN, ROOT
from preble_api.console.render import Renderer
from preble_api.console.sessions import Sessions
from preble_api.key_holders import KeyHolders

_UNKNOWN: Final = "This key is not known here: it may have expired or been revoked."


class LoginRoutes:
    """`/ui/login`, `/ui/logout`.

    Args:
        holders: Knows the keys.
        sessions: Makes the cookies.
        renderer: Makes the page.
    """

    def __init__(self, holders: KeyHolders, sessions: Sessions, renderer: Renderer) -> None:
        self._holders = holders
        self._sessions = sessions
        self._renderer = renderer

    async def show(self, request: Request) -> Response:
        """The form."""
        return self._form(request.query_params.get("next", ""))

    async def enter(self, request: Request) -> Response:
        """Begin a session. Raises: HttpError (429), BrokerUnavailable."""
        form = await read_form(request)
        key, after = (form.get(name, [""])[-1].strip() for name in ("key", "next"))
        if await self._holders.of_key(key.encode()) is None:
            return self._form(after, _UNKNOWN)
        cookie = self._sessions.begin(digest_of(key.encode()), is_https=is_https(request.scope))
        return _redirect(after if is_own_path(after) else ROOT, cookie)

    async def leave(self, request: Request) -> Response:
        """End it."""
        return _redirect(LOGIN, self._sessions.end(is_https=is_https(request.scope)))

    def _form(self, after: str, problem: str = "") -> HTMLResponse:
        answer = self._renderer.login(next=after if is_own_path(after) else "", problem=problem)
        answer.status_code = HTTPStatus.FORBIDDEN if problem else HTTPStatus.OK
        return answer


async def read_form(request: Request) -> dict[str, list[str]]:
    """The fields of a form, which the door has seen to be small."""
    return parse_qs((await request.body()).decode(errors="replace"))


def _redirect(path: str, cookie: str) -> Response:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER, headers={"set-cookie": cookie})

"""Templates to HTML: everything is escaped, what is missing is an error, nothing is read anew.

A page is small, and made for each who asks. What is large in it, or changes, is a fragment: made in
turns, and often once for all who may see the same.
"""

from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from itertools import islice
from typing import Final

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from starlette.requests import Request
from starlette.responses import HTMLResponse

from preble import __version__
from preble.clock import Clock
from preble_api.console import formats, paths
from preble_api.console.marks import MARKS
from preble_api.console.pace import Pace
from preble_api.console.sessions import COOKIE
from preble_api.errors import HttpError
from preble_api.principal import Principal, principal_of

STOP_ASKING: Final = 286
"""The status of a fragment that does not change any more; htmx's own."""

_PIECES: Final = 64
"""Of a template, between two looks at the clock: some 100 microseconds."""


class Fragment(msgspec.Struct, frozen=True):
    """A part of a page, to be put into one, or sent alone."""

    html: str
    body: bytes
    """The same, encoded once for all to whom it is sent."""

    def __html__(self) -> str:
        """By which a template knows that it is escaped."""
        return self.html

    def alone(self, status: HTTPStatus | int = HTTPStatus.OK) -> HTMLResponse:
        """An answer that is nothing else."""
        return HTMLResponse(self.body, status)


@cache
def templates() -> Mapping[str, Template]:
    """All of them, compiled. Cost: 100 ms of CPU, once."""
    made = Environment(
        loader=PackageLoader("preble_api.console"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    made.filters |= formats.FILTERS
    return {name: made.get_template(name) for name in made.list_templates()}


def fragment_of(html: str) -> Fragment:
    """A fragment.

    Args:
        html: Escaped where it must be.
    """
    return Fragment(html, html.encode())


class Visitor(msgspec.Struct, frozen=True):
    """Who looks, as far as a page must know."""

    name: str
    is_operator: bool
    """Sees the pool, and all tenants."""
    may_submit: bool
    is_logged_in: bool
    """Else the api is open, and there is nothing to log out of."""


NOBODY: Final = Visitor("", is_operator=False, may_submit=False, is_logged_in=False)


def visitor_of(request: Request) -> Visitor:
    """Of a request that came through the gate."""
    principal = principal_of(request.scope)
    return Visitor(
        "all tenants" if principal.tenant is None else f"tenant {principal.tenant}",
        is_operator=is_operator(principal), may_submit=principal.may("submit"),
        is_logged_in=COOKIE in request.cookies,
    )  # fmt: skip


def is_operator(principal: Principal) -> bool:
    """Whether somebody may look at the whole pool, and drain its instances."""
    return principal.tenant is None and principal.may("admin")


class Renderer:
    """Makes pages and fragments.

    Args:
        pool: Its name, which every page shows.
        clock: Tells when others are to be let go first.
    """

    def __init__(self, pool: str, clock: Clock) -> None:
        self._clock = clock
        self._common: dict[str, object] = {
            "pool": pool, "version": __version__, "paths": paths, "static": _static, **MARKS,
        }  # fmt: skip

    def page(self, request: Request, name: str, **context: object) -> HTMLResponse:
        """A whole page, for whoever asks."""
        return self._whole(name, visitor_of(request), context)

    def login(self, **context: object) -> HTMLResponse:
        """The page of the login."""
        return self._whole("login", NOBODY, context)

    def error(self, error: HttpError) -> HTMLResponse:
        """An error as a page, for anybody."""
        context: dict[str, object] = {"error": error}
        answer = self._whole("error", NOBODY, context)
        answer.status_code = error.status
        return answer

    async def fragment(self, name: str, **context: object) -> Fragment:
        """A part of a page, made in turns, however long it is."""
        pieces = templates()[f"{name}.html"].generate(self._common | context)
        pace, made = Pace(self._clock), list[str]()
        while some := list(islice(pieces, _PIECES)):
            made += some
            await pace.breathe()
        return fragment_of("".join(made))

    def _whole(self, name: str, visitor: Visitor, context: dict[str, object]) -> HTMLResponse:
        return HTMLResponse(self._rendered(name, {"visitor": visitor, "notice": "", **context}))

    def _rendered(self, name: str, context: dict[str, object]) -> str:
        return templates()[f"{name}.html"].render(self._common | context)


def _static(name: str) -> str:
    """The address of a file, other for each version, so that a browser may keep it."""
    return f"{paths.STATIC}/{name}?v={__version__}"

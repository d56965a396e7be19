"""Routes without FastAPI's machinery around them.

FastAPI describes the routes and serves the rare ones. Its own way from a request to a
handler costs about 100 microseconds of CPU, as much as all else that a submission needs.
So handlers take the raw request, and those that carry the load are called directly, and so are
the console's, whose pages ask without end.

    a path without parameters ─▶ one look ─┐
    any other ─▶ a match with each pattern ┴▶ its handler
"""

from collections.abc import Awaitable, Callable, Sequence

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]


class RawRoute(APIRoute):
    """A route whose handler reads the request and encodes the answer itself."""

    def get_route_handler(self) -> Handler:  # type: ignore[override]
        """The handler as it was declared."""
        return self.endpoint


class DirectRoutes:
    """ASGI middleware that answers some routes itself and hands all else on.

    Args:
        app: What serves the rest.
        routes: Declared on that app too, for its documentation.
    """

    def __init__(self, app: ASGIApp, *, routes: Sequence[Route]) -> None:
        self._app = app
        self._whole = {
            (method, route.path): route
            for route in routes
            for method in route.methods or ()
            if not route.param_convertors
        }
        self._patterns = [route for route in routes if route.param_convertors]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        handler = self._find(scope)
        if handler is None:
            await self._app(scope, receive, send)
            return
        response = await handler(Request(scope, receive))
        await response(scope, receive, send)

    def _find(self, scope: Scope) -> Handler | None:
        """The handler of the route that matches. Changes: the scope, as a router does."""
        whole = self._whole.get((scope.get("method", ""), scope.get("path", "")))
        for route in [whole] if whole else self._patterns:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found, route=route)
                handler: Handler = route.endpoint
                return handler
        return None

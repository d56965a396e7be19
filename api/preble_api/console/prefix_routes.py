"""The prefixes that the instances have cached, as icicles. For operators."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from preble.cached_prefixes import CachedPrefixes
from preble_api.console.fleet_routes import require_operator
from preble_api.console.icicle import Icicle, icicle_of, icicle_of_all
from preble_api.console.render import Renderer
from preble_api.console.tree_reader import TreeReader
from preble_api.errors import HttpError

MOST_CELLS: Final = 1_200
"""Of a page, for all its instances together."""

_FEWEST_CELLS: Final = 12
_MOST_CELLS_OF_ONE: Final = 200


class PrefixRoutes:
    """`/ui/prefixes`."""

    def __init__(self, reader: TreeReader, renderer: Renderer) -> None:
        self._reader = reader
        self._renderer = renderer
        self._drawn: dict[str, Markup] = {}
        self._drawn_of = 0

    async def show(self, request: Request) -> Response:
        """The page. Raises: HttpError (403, 404)."""
        require_operator(request)
        instance = request.query_params.get("instance", "")
        panel = self._panel(instance)
        return self._renderer.page(request, "prefixes", panel=panel, instance=instance)

    async def panel(self, request: Request) -> Response:
        """The page's pictures, where they are others. Raises: HttpError (403, 404)."""
        require_operator(request)
        panel = self._panel(request.query_params.get("instance", ""))
        if request.query_params.get("seen") == str(self._reader.version):
            return Response(status_code=HTTPStatus.NO_CONTENT)
        return HTMLResponse(panel)

    def _panel(self, instance: str) -> Markup:
        """Made once of each reading, for all who look."""
        self._reader.look()
        if self._drawn_of != self._reader.version:
            self._drawn, self._drawn_of = {}, self._reader.version
        if instance not in self._drawn:
            drawn = self._draw(instance)
            if self._reader.seen is None:
                return drawn
            self._drawn[instance] = drawn
        return self._drawn[instance]

    def _draw(self, instance: str) -> Markup:
        seen = self._reader.seen
        icicles = list(_icicles(seen, instance)) if seen else []
        return self._renderer.fragment(
            "prefix_panel", icicles=icicles, seen=seen, instance=instance,
            trouble=self._reader.trouble, version=self._reader.version,
        )  # fmt: skip


def _icicles(seen: CachedPrefixes, instance: str) -> Iterator[Icicle]:
    """Raises: HttpError (404) if there is no such instance."""
    names = list(seen.capacity_blocks)
    if instance:
        if instance not in names:
            message = "no such instance takes jobs"
            raise HttpError(HTTPStatus.NOT_FOUND, "instance_not_found", message)
        yield icicle_of(seen, instance, _MOST_CELLS_OF_ONE)
        return
    yield icicle_of_all(seen, _MOST_CELLS_OF_ONE)
    each = max(_FEWEST_CELLS, min(_MOST_CELLS_OF_ONE, MOST_CELLS // max(1, len(names))))
    for name in names:
        yield icicle_of(seen, name, each)

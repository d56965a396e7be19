"""The prefixes that the instances have cached, as icicles. For operators."""

import math
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from preble.cached_prefixes import CachedPrefixes
from preble.clock import Clock
from preble_api.console.fleet_routes import require_operator
from preble_api.console.icicle import Icicle, icicle_of, icicle_of_all
from preble_api.console.pace import Pace
from preble_api.console.render import Fragment, Renderer
from preble_api.console.shared import Shared
from preble_api.console.tree_reader import TreeReader
from preble_api.errors import HttpError

MOST_CELLS: Final = 1_200
"""Of a page, for all its instances together."""

_FEWEST_CELLS: Final = 12
_MOST_CELLS_OF_ONE: Final = 200
_MOST_PANELS: Final = 16
"""Kept, of some 600 kB at most: text and bytes."""


class PrefixRoutes:
    """`/ui/prefixes`."""

    def __init__(self, reader: TreeReader, renderer: Renderer, clock: Clock) -> None:
        self._reader = reader
        self._renderer = renderer
        self._clock = clock
        # A reading does not change: its pictures stand as long as anybody looks at them.
        self._panels = Shared(self._drawn, clock, for_s=math.inf, most=_MOST_PANELS)

    async def show(self, request: Request) -> Response:
        """The page. Raises: HttpError (403, 404)."""
        require_operator(request)
        instance = request.query_params.get("instance", "")
        panel = await self._panel(instance)
        return self._renderer.page(request, "prefixes", panel=panel, instance=instance)

    async def panel(self, request: Request) -> Response:
        """The page's pictures, where they are others. Raises: HttpError (403, 404)."""
        require_operator(request)
        self._reader.look()
        if request.query_params.get("seen") == str(self._reader.version):
            return Response(status_code=HTTPStatus.NO_CONTENT)
        return (await self._panel(request.query_params.get("instance", ""))).alone()

    async def _panel(self, instance: str) -> Fragment:
        """Made once of each reading, for all who look."""
        self._reader.look()
        return await self._panels.get((instance, self._reader.version))

    async def _drawn(self, asked: tuple[str, int]) -> Fragment:
        instance, version = asked
        seen, trouble, icicles = self._reader.seen, self._reader.trouble, list[Icicle]()
        pace = Pace(self._clock)
        for icicle in _icicles(seen, instance) if seen else ():
            icicles.append(icicle)
            await pace.breathe()
        return await self._renderer.fragment(
            "prefix_panel", icicles=icicles, seen=seen, instance=instance, trouble=trouble,
            version=version,
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

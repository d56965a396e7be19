"""The console's scripts and styles, read once; a name that is no file's leads nowhere."""

from http import HTTPStatus
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from preble_api.errors import HttpError

_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml",
                 "txt": "text/plain"}  # fmt: skip
# Each version has its own addresses.
_HEADERS: Final = {"cache-control": "public, max-age=31536000, immutable"}


class StaticFiles:
    """Serves the files of the folder `static`."""

    def __init__(self) -> None:
        folder = files("preble_api.console") / "static"
        self._files = {each.name: each.read_bytes() for each in folder.iterdir()}

    async def show(self, request: Request) -> Response:
        """One file. Raises: HttpError (404)."""
        name: str = request.path_params["name"]
        if name not in self._files:
            raise HttpError(HTTPStatus.NOT_FOUND, "not_found", "no such file")
        kind = _TYPES[name.rpartition(".")[2]]
        return Response(self._files[name], headers=_HEADERS, media_type=kind)

"""What the ASGI layers share."""

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of this name, which is given in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None

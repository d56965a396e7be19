"""Preble: a durable dispatcher for LLM inference jobs that knows what each GPU has cached."""

TYPE_CHECKING = False  # the name is enough for type checkers, and `typing` takes 10 ms
if TYPE_CHECKING:
    from preble.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """The clients, once they are asked for: most who import a part of Preble need none."""
    if name not in {"AsyncClient", "Client"}:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from preble import client  # noqa: PLC0415 - the point

    return getattr(client, name)

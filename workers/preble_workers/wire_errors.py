"""What the errors of an engine's HTTP server mean: SGLang and vLLM speak alike here. No I/O."""

import contextlib
from http import HTTPStatus
from typing import Final

import msgspec

from preble.errors import EngineError, EngineRefused, EngineUnavailable

_MAX_ERROR_CHARS: Final = 500

_TRANSIENT: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class WireError(msgspec.Struct, frozen=True):
    """An error as it stands in a body or in an event of a stream."""

    message: str
    code: int = HTTPStatus.BAD_REQUEST


class _Body(msgspec.Struct, frozen=True):
    error: WireError | str | None = None
    message: str | None = None
    """Where older versions have it."""


def engine_error(status: int, message: str) -> EngineError:
    """What a status that is not a success means: 4xx is the request's fault, but for two."""
    is_client_error = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    if is_client_error and status not in _TRANSIENT:
        return EngineRefused(message)
    return EngineUnavailable(f"the engine answered {status}: {message}")


def raise_told(error: WireError | str | None) -> None:
    """Raise what an event of a stream tells of; nothing if it tells of no error.

    Raises:
        EngineRefused: If the request was wrong.
        EngineUnavailable: If it may run again.
    """
    if isinstance(error, str):
        error = WireError(error)
    if error is not None:
        raise engine_error(error.code, error.message)


def error_message(body: bytes) -> str:
    """The message in the body of an error, or the body itself where it has none."""
    with contextlib.suppress(msgspec.DecodeError):
        told = msgspec.json.decode(body, type=_Body)
        found = told.error.message if isinstance(told.error, WireError) else told.error
        if message := found or told.message:
            return message
    return body[:_MAX_ERROR_CHARS].decode(errors="replace")

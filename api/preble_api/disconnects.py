"""The `x-preble-cancel-on-disconnect` header: a job that goes when its client does.

Without it a job goes on when its client leaves, to be asked for at `/v1/jobs`.
"""

from typing import Any, Final

from starlette.requests import Request

from preble.errors import InvalidJob

CANCEL_ON_DISCONNECT: Final = "x-preble-cancel-on-disconnect"

_MEANINGS: Final = {"true": True, "false": False}


def cancels_if_gone(request: Request) -> bool:
    """Whether a request asks that its job ends when its client leaves.

    Raises:
        InvalidJob: If the header says neither.
    """
    said = request.headers.get(CANCEL_ON_DISCONNECT, "false").lower()
    if said not in _MEANINGS:
        raise InvalidJob(CANCEL_ON_DISCONNECT, "must be `true` or `false`")
    return _MEANINGS[said]


def cancel_on_disconnect_parameter() -> dict[str, Any]:
    """The header, as OpenAPI has it."""
    return {
        "name": CANCEL_ON_DISCONNECT, "in": "header", "required": False,
        "schema": {"type": "string", "enum": ["true", "false"]},
        "description": "Whether the job is cancelled if the client leaves; else it goes on.",
    }  # fmt: skip

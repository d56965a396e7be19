"""Server-sent events, as OpenAI's clients read them."""

from typing import Final

import msgspec

from preble.errors import PrebleError
from preble_api.errors import error_detail, refusal

MEDIA_TYPE: Final = "text/event-stream"
STREAM_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}

COMMENT: Final = b": waiting\n\n"
"""A sign of life: clients skip it, proxies count it."""

DONE: Final = b"data: [DONE]\n\n"

_encode: Final = msgspec.json.Encoder().encode


def event(data: object, name: str = "") -> bytes:
    """One event; with a name where its client tells events apart by it."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + _encode(data) + b"\n\n"


def error_fields(error: PrebleError) -> dict[str, object]:
    """What is told of an error once a stream has begun, and its status is long out."""
    return msgspec.structs.asdict(error_detail(refusal(error)))

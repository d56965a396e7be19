"""The stream of a response: its events, from any number on."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import partial

from preble.errors import PrebleError
from preble.messages import JobView
from preble_api.openai.response_events import Event, ResponseEvents
from preble_api.openai.sse import COMMENT, error_fields, event
from preble_api.rendering import Rendering
from preble_api.waits import Piece

Pieces = AsyncGenerator[Piece | JobView | None]


async def response_stream(
    pieces: Pieces, events: ResponseEvents, rendering: Rendering
) -> AsyncGenerator[bytes]:
    """What the client lacks of a response, as its job makes it.

    Args:
        pieces: All of the job, from its beginning.
        events: Numbers them.
        rendering: Makes them.
    """
    for made in events.opening():
        yield _named(made)
    try:
        async with aclosing(pieces) as items:
            async for item in items:
                if item is None:
                    yield COMMENT
                    continue
                for told in await rendering.of([item], partial(_told, item, events)):
                    yield told
    except PrebleError as error:
        yield _named(events.broken_off(error_fields(error)))


def _told(item: Piece | JobView, events: ResponseEvents) -> list[bytes]:
    return [_named(made) for made in _events_of(item, events)]


def _events_of(item: Piece | JobView, events: ResponseEvents) -> Iterator[Event]:
    return events.more(item) if isinstance(item, Piece) else events.closing(item)


def _named(made: Event) -> bytes:
    return event(made, made["type"])

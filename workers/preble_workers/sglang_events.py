"""The events in a payload of SGLang's KV events. No I/O.

Proved against SGLang 0.5.23: `{"type": "BlockStored", "block_hashes": [...], ...}`.
"""

import contextlib
from collections.abc import Mapping
from typing import Final

import msgspec

from preble_workers.engine import AllPagesCleared, PageEvent, PagesRemoved, PagesStored
from preble_workers.kv_events import (
    DEVICE,
    Endpoints,
    PublisherConfig,
    endpoints_of,
    require_page_size,
    unreadable,
)


class _Stored(msgspec.Struct, frozen=True, tag_field="type", tag="BlockStored"):
    block_hashes: list[int]
    parent_block_hash: int | None
    token_ids: list[int]
    block_size: int
    medium: str | None = None
    cache_salt: str | None = None


class _Removed(msgspec.Struct, frozen=True, tag_field="type", tag="BlockRemoved"):
    block_hashes: list[int]
    medium: str | None = None


class _Cleared(msgspec.Struct, frozen=True, tag_field="type", tag="AllBlocksCleared"):
    pass


class _Batch(msgspec.Struct, frozen=True, array_like=True):
    sent_at_s: float
    events: list[_Stored | _Removed | _Cleared]


_decode: Final = msgspec.msgpack.Decoder(_Batch).decode


def parse_events(payload: bytes, *, page_size: int) -> list[PageEvent]:
    """The events of one batch that concern the KV cache itself.

    Raises:
        EventsLost: If they are not as expected.
    """
    try:
        events = _decode(payload).events
    except msgspec.DecodeError as error:
        raise unreadable(error) from error
    mapped: list[PageEvent] = []
    for event in events:
        match event:
            case _Stored():
                require_page_size(event.block_size, page_size)
                if event.medium in DEVICE:
                    salt = event.cache_salt or ""
                    hashes, parent = event.block_hashes, event.parent_block_hash
                    mapped.append(PagesStored(hashes, parent, event.token_ids, salt))
            case _Removed() if event.medium in DEVICE:
                mapped.append(PagesRemoved(event.block_hashes))
            case _Cleared():
                mapped.append(AllPagesCleared())
            case _:
                pass
    return mapped


def advertised_endpoints(server_info: Mapping[str, object], url: str) -> Endpoints | None:
    """Where a server's `/server_info` says that its KV events are; None if it publishes none.

    None also for a server with several KV caches (`--dp-size`), which Preble takes for one.
    """
    raw = server_info.get("kv_events_config")
    if not isinstance(raw, str) or server_info.get("dp_size", 1) != 1:
        return None
    with contextlib.suppress(msgspec.DecodeError):
        return endpoints_of(msgspec.json.decode(raw, type=PublisherConfig), url)
    return None

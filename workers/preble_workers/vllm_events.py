"""The events in a payload of vLLM's KV events. No I/O.

Proved against vLLM 0.32.0, whose events are maps tagged `type`; older versions send arrays
whose first element is the tag. A hash is an unsigned number, or bytes if the server was told
so. Two things are unlike SGLang:

- vLLM does not share what two running requests compute at once. Each copy of a page is told of
  as it is stored and as it goes, so a page is held until its last copy has gone.
- A cache salt stands among the `extra_keys` of a prompt's first page, as do an adapter's name
  and images. What those computed is no prefix of any text prompt.
"""

from collections import Counter
from typing import Final

import msgspec

from preble.errors import EventsLost
from preble_workers.engine import AllPagesCleared, PageEvent, PagesRemoved, PagesStored
from preble_workers.kv_events import DEVICE, require_page_size, unreadable

_Hash = int | bytes

_FIRST_GROUP: Final = (None, 0)
"""Models with several kinds of attention have a cache for each; one is followed."""
_KEEPS_PREFIXES: Final = (None, "full_attention", "mla_attention")
"""Others keep a window of a prompt, or its last state: pages that no prefix leads to."""
_FOREIGN: Final = "\0"
"""Begins the salts of what no job of ours can hit."""


class _Stored(msgspec.Struct, frozen=True, tag="BlockStored"):
    block_hashes: list[_Hash]
    parent_block_hash: _Hash | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None = None
    medium: str | None = None
    lora_name: str | None = None
    extra_keys: list[list[object] | None] | None = None
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None


class _Removed(msgspec.Struct, frozen=True, tag="BlockRemoved"):
    block_hashes: list[_Hash]
    medium: str | None = None
    group_idx: int | None = None


class _Cleared(msgspec.Struct, frozen=True, tag="AllBlocksCleared"):
    pass


class _Batch(msgspec.Struct, frozen=True, array_like=True):
    sent_at_s: float
    events: list[_Stored | _Removed | _Cleared]


class _OldStored(_Stored, frozen=True, array_like=True, tag="BlockStored"):
    pass


class _OldRemoved(_Removed, frozen=True, array_like=True, tag="BlockRemoved"):
    pass


class _OldCleared(_Cleared, frozen=True, array_like=True, tag="AllBlocksCleared"):
    pass


class _OldBatch(msgspec.Struct, frozen=True, array_like=True):
    sent_at_s: float
    events: list[_OldStored | _OldRemoved | _OldCleared]


_decode: Final = msgspec.msgpack.Decoder(_Batch).decode
_decode_old: Final = msgspec.msgpack.Decoder(_OldBatch).decode


class VLLMEvents:
    """Reads the events of one life of a server.

    Args:
        page_size: Of the server, in tokens.
    """

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._copies: Counter[int] = Counter()

    def read(self, payload: bytes) -> list[PageEvent]:
        """The events of the next batch that concern the KV cache itself.

        Raises:
            EventsLost: If they are not as expected.
        """
        mapped: list[PageEvent] = []
        for event in _events(payload):
            match event:
                case _Stored() if _is_followed(event):
                    mapped.append(self._store(event))
                case _Removed() if _is_followed(event):
                    mapped += self._remove(event)
                case _Cleared():
                    self._copies.clear()
                    mapped.append(AllPagesCleared())
                case _:
                    pass
        return mapped

    def _store(self, event: _Stored) -> PagesStored:
        require_page_size(event.block_size, self._page_size)
        if event.kv_cache_spec_kind not in _KEEPS_PREFIXES:
            msg = f"the engine's KV cache keeps no prefixes: {event.kv_cache_spec_kind}"
            raise EventsLost(msg)
        hashes = [_number(each) for each in event.block_hashes]
        self._copies.update(hashes)
        parent = None if event.parent_block_hash is None else _number(event.parent_block_hash)
        return PagesStored(hashes, parent, event.token_ids, _salt(event))

    def _remove(self, event: _Removed) -> list[PageEvent]:
        hashes = [_number(each) for each in event.block_hashes]
        self._copies.subtract(hashes)
        gone = [each for each in hashes if self._copies[each] <= 0]
        for each in gone:
            del self._copies[each]
        return [PagesRemoved(gone)] if gone else []


def _events(payload: bytes) -> list[_Stored | _Removed | _Cleared]:
    try:
        return _decode(payload).events
    except msgspec.DecodeError as error:
        try:
            return [*_decode_old(payload).events]
        except msgspec.DecodeError:
            raise unreadable(error) from error


def _is_followed(event: _Stored | _Removed) -> bool:
    return event.medium in DEVICE and event.group_idx in _FIRST_GROUP


def _number(page_hash: _Hash) -> int:
    return page_hash if isinstance(page_hash, int) else int.from_bytes(page_hash, "big")


def _salt(event: _Stored) -> str:
    """Of the prompt; only that of its first page counts."""
    keys = event.extra_keys[0] if event.extra_keys else None
    is_adapted = event.lora_name is not None or event.lora_id is not None
    match keys:
        case None | [] if not is_adapted:
            return ""
        case [str() as salt] if not is_adapted:
            return salt
        case _:
            return f"{_FOREIGN}{event.lora_name or event.lora_id}{keys}"

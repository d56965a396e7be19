"""SGLang's KV events on the wire. No I/O.

Proved against SGLang 0.5.23. A message on the events' socket is `[topic, seq, payload]`, and a
reply to a replay request is `["", topic, seq, payload]`, ended by a seq of -1. Seq is 8 bytes,
big-endian, and counts the batches of one server process from 0. The payload is msgpack:

    [unix seconds, [event, ...], rank]      event: {"type": "BlockStored", "block_hashes": ...}

What SGLang calls a block is a page here: `--page-size` tokens.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from preble.errors import EventsLost
from preble_workers.engine import AllPagesCleared, PageEvent, PagesRemoved, PagesStored

END_OF_REPLAY: Final = -1
_SEQ_BYTES: Final = 8
_DEVICE: Final = (None, "GPU")
"""Copies of a page in host memory or on disk are no hits of the KV cache."""

_WILDCARDS: Final = ("*", "0.0.0.0", "[::]")  # noqa: S104 - read, not bound


_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class Endpoints(msgspec.Struct, frozen=True):
    """ZeroMQ addresses to connect to; `replay` is empty if nothing is replayed."""

    events: str
    replay: str = ""


class _Config(msgspec.Struct, frozen=True):
    """What is read of SGLang's `--kv-events-config`."""

    publisher: str = "null"
    endpoint: str = ""
    replay_endpoint: str | None = None


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


class Message(msgspec.Struct, frozen=True):
    """One batch as it came."""

    seq: int
    payload: bytes


class _Head(msgspec.Struct, frozen=True, array_like=True):
    sent_at_s: float


_decode: Final = msgspec.msgpack.Decoder(_Batch).decode
_decode_head: Final = msgspec.msgpack.Decoder(_Head).decode


def parse_message(frames: Sequence[bytes]) -> Message:
    """A message of either socket. Raises: EventsLost if it is none."""
    if len(frames) < 2 or len(frames[-2]) != _SEQ_BYTES:  # noqa: PLR2004  # seq and payload
        msg = f"the engine sent a KV event message of {len(frames)} parts"
        raise EventsLost(msg)
    return Message(int.from_bytes(frames[-2], "big", signed=True), frames[-1])


def is_later(payload: bytes, other: bytes) -> bool:
    """Whether a batch was sent after another. Raises: EventsLost if either is none."""
    try:
        return _decode_head(payload).sent_at_s > _decode_head(other).sent_at_s
    except msgspec.DecodeError as error:
        msg = f"the engine's KV events are not SGLang's: {error}"
        raise EventsLost(msg) from error


def replay_request(first_seq: int) -> list[bytes]:
    """What to send to be told all batches from `first_seq` on."""
    return [b"", first_seq.to_bytes(_SEQ_BYTES, "big")]


def parse_events(payload: bytes, *, page_size: int) -> list[PageEvent]:
    """The events of one batch that concern the KV cache itself.

    Raises:
        EventsLost: If they are not as expected.
    """
    try:
        events = _decode(payload).events
    except msgspec.DecodeError as error:
        msg = f"the engine's KV events are not SGLang's: {error}"
        raise EventsLost(msg) from error
    mapped: list[PageEvent] = []
    for event in events:
        match event:
            case _Stored() if event.block_size != page_size:
                msg = f"a KV event has pages of {event.block_size} tokens, not {page_size}"
                raise EventsLost(msg)
            case _Stored() if event.medium in _DEVICE:
                salt = event.cache_salt or ""
                hashes, parent = event.block_hashes, event.parent_block_hash
                mapped.append(PagesStored(hashes, parent, event.token_ids, salt))
            case _Removed() if event.medium in _DEVICE:
                mapped.append(PagesRemoved(event.block_hashes))
            case _Cleared():
                mapped.append(AllPagesCleared())
            case _:
                pass
    return mapped


def endpoints_of(server_info: Mapping[str, object], url: str) -> Endpoints | None:
    """Where a server's `/server_info` says that its KV events are; None if it publishes none.

    None also for a server that connects to its subscriber, instead of being connected to, and
    for one with several KV caches (`--dp-size`), which Preble takes for one.
    """
    raw = server_info.get("kv_events_config")
    if not isinstance(raw, str) or server_info.get("dp_size", 1) != 1:
        return None
    with contextlib.suppress(msgspec.DecodeError):
        config = msgspec.json.decode(raw, type=_Config)
        host = urlsplit(url).hostname or ""
        if config.publisher == "zmq" and (events := _reachable(config.endpoint, host)):
            return Endpoints(events, _reachable(config.replay_endpoint or "", host, binds=True))
    return None


def _reachable(endpoint: str, host: str, *, binds: bool = False) -> str:
    """The address to connect to; empty if the server does not listen there."""
    if endpoint.startswith("ipc://"):
        return endpoint if host in _LOOPBACK else ""
    address, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    if not endpoint.startswith("tcp://") or not (binds or address in _WILDCARDS):
        return ""
    if address in _WILDCARDS:
        address = f"[{host}]" if ":" in host else host
    return f"tcp://{address}:{port}"

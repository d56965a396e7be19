"""KV events on the wire, as SGLang and vLLM alike frame them. No I/O.

Proved against SGLang 0.5.23 and vLLM 0.32.0. A message on the events' socket is `[topic, seq,
payload]`, and a reply to a replay request is `["", topic, seq, payload]`, ended by a seq of -1.
Seq is 8 bytes, big-endian, and counts the batches of one server process from 0. The payload is
msgpack, `[unix seconds, [event, ...], rank]`: `sglang_events` and `vllm_events` read the events.

What the engines call a block is a page here.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from preble.errors import EventsLost

END_OF_REPLAY: Final = -1
DEVICE: Final = (None, "GPU")
"""Copies of a page in host memory or on disk are no hits of the KV cache."""
_SEQ_BYTES: Final = 8

_WILDCARDS: Final = ("*", "0.0.0.0", "[::]")  # noqa: S104 - read, not bound

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class Endpoints(msgspec.Struct, frozen=True):
    """ZeroMQ addresses to connect to; `replay` is empty if nothing is replayed."""

    events: str
    replay: str = ""


class PublisherConfig(msgspec.Struct, frozen=True):
    """What is read of a server's `--kv-events-config`."""

    publisher: str = "null"
    endpoint: str = ""
    replay_endpoint: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One batch as it came."""

    seq: int
    payload: bytes


class _Head(msgspec.Struct, frozen=True, array_like=True):
    sent_at_s: float


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
        raise unreadable(error) from error


def unreadable(error: msgspec.DecodeError) -> EventsLost:
    """The error of a payload that no known version of an engine sends."""
    return EventsLost(f"the engine's KV events cannot be read: {error}")


def require_page_size(block_size: int, page_size: int) -> None:
    """Raises: EventsLost if an event's pages are not of the server's size, in tokens."""
    if block_size != page_size:
        msg = f"a KV event has pages of {block_size} tokens, not {page_size}"
        raise EventsLost(msg)


def replay_request(first_seq: int) -> list[bytes]:
    """What to send to be told all batches from `first_seq` on."""
    return [b"", first_seq.to_bytes(_SEQ_BYTES, "big")]


def endpoints_of(config: PublisherConfig, url: str) -> Endpoints | None:
    """Where a server's KV events are; None if it publishes none that can be had.

    None also for a server that connects to its subscriber, instead of being connected to.
    """
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

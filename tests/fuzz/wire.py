"""Sends raw bytes to the api and reads its reply: no client library mends them on the way."""

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Final

LONGEST_S: Final = 15.0
"""No request may take longer, on a busy machine."""

PATIENCE_S: Final = 0.3
"""How long a reply is awaited where none is owed."""

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Shot:
    """One request, or what should pass for one.

    Args:
        kind: What is wrong with it.
        pieces: What is written, one after the other.
        pause_s: Between two pieces.
        is_owed: Whether a reply must come; else bytes are missing for ever, or none are HTTP.
        is_gone: Whether the client leaves without waiting.
        is_head: Whether a reply has no body.
        untold_jobs: Most jobs of it that may be accepted without the one reply that is read.
    """

    kind: str
    pieces: tuple[bytes, ...]
    pause_s: float = 0.0
    is_owed: bool = True
    is_gone: bool = False
    is_head: bool = False
    untold_jobs: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What the api said; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came of a shot; `reason` says why there is no reply."""

    shot: Shot
    seconds: float
    reply: Reply | None = None
    reason: str = field(default="")


def message(
    method: bytes, target: bytes, headers: Headers = (), body: bytes = b"",
    *, version: bytes = b"HTTP/1.1", frame: Headers | None = None,
) -> bytes:  # fmt: skip
    """A request as bytes; `frame` replaces the Content-Length that would be right."""
    length = ((b"Content-Length", b"%d" % len(body)),) if body else ()
    lines = [b"%b %b %b" % (method, target, version), b"Host: preble"]
    lines += [b"%b: %b" % each for each in (*headers, *(length if frame is None else frame))]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def fire(address: tuple[str, int], shot: Shot) -> Exchange:
    """Send a shot on a connection of its own, and read one reply."""
    began_s = time.monotonic()
    with socket.create_connection(address, timeout=LONGEST_S) as sock:
        _write(sock, shot)
        if shot.is_gone:
            return Exchange(shot, 0.0, reason="not awaited")
        sock.settimeout(LONGEST_S if shot.is_owed else PATIENCE_S)
        try:
            reply = _read(sock, "HEAD" if shot.is_head else "POST")
        except (OSError, HTTPException) as error:
            return Exchange(shot, time.monotonic() - began_s, reason=repr(error)[:80])
    return Exchange(shot, time.monotonic() - began_s, reply)


def _write(sock: socket.socket, shot: Shot) -> None:
    try:
        for number, piece in enumerate(shot.pieces):
            if number:
                time.sleep(shot.pause_s)  # being slow is what is tested
            sock.sendall(piece)
    except OSError:
        return  # refused and closed already: the reply says why


def _read(sock: socket.socket, method: str) -> Reply:
    with HTTPResponse(sock, method=method) as response:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, headers, response.read())

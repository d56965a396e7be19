"""Ports and first answers: is a port free, and does a server answer on it yet."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from preble.errors import ConfigError

READYZ: Final = b"GET /readyz HTTP/1.1\r\nHost: preble\r\nConnection: close\r\n\r\n"
ANSWER_TIMEOUT_S: Final = 2.0

_FREE_PORTS: Final = range(20_000, 32_000)
"""Where port 0 is looked for: below the ports that Linux gives to outgoing connections, for
one of these may sit on the port of a server that is just being restarted."""

_TRIES: Final = 50
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound


class _Health(msgspec.Struct, frozen=True):
    instances: int


def claim_port(host: str, port: int) -> int:
    """A port that can be listened on: the given one, or a free one for 0.

    Raises:
        ConfigError: If the port is taken, or the host is not one of this machine.
    """
    ports = [port] if port else random.sample(_FREE_PORTS, _TRIES)
    reason = ""
    for candidate in ports:
        reason = _why_not(host, candidate)
        if not reason:
            return candidate
    msg = f"cannot listen on {host} port {port}: {reason}; choose another with --port"
    raise ConfigError(msg)


def _why_not(host: str, port: int) -> str:
    """Why nobody can listen there now; empty if one can."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def reachable_host(host: str) -> str:
    """The host to connect to for one that a server listens on."""
    return _WILDCARDS.get(host, host)


def http_url(host: str, port: int) -> str:
    """The URL under which this machine reaches a server that listens on `host`."""
    host = reachable_host(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_server_url(url: str) -> bool:
    """Whether a URL names an HTTP server, with a port that is one if it has any."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # parsed when read: raises ValueError if it is no port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def without_password(url: str) -> str:
    """A URL fit to be shown: its password, if any, is starred out."""
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@") if password else url


async def is_answering(
    host: str, port: int, *, request: bytes, is_right: Callable[[bytes], bool]
) -> bool:
    """Whether a server's reply, read as far as needed, is right. Never raises."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await _replies(host, port, request, is_right)
    return False


async def _replies(host: str, port: int, request: bytes, is_right: Callable[[bytes], bool]) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        reply = b""
        while chunk := await reader.read(4096):
            reply += chunk
            if is_right(reply):
                return True
        return False
    finally:
        writer.close()


def ready_instances(reply: bytes) -> int:
    """How many instances an api that is ready counts; -1 if it is not, or not yet read."""
    head, _, body = reply.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        return -1
    try:
        return msgspec.json.decode(body, type=_Health).instances
    except msgspec.DecodeError:
        return -1

"""The socket and the server around the application: uvicorn, with bounds and a ready line.

What happens on one connection: `bounded_http.py`.
"""

import asyncio
import contextlib
import ipaddress
import resource
import signal
import socket
import sys
from collections.abc import Callable, Generator
from functools import partial
from types import FrameType
from typing import Any, Final, cast

import uvicorn
from fastapi import FastAPI

from preble.config import Settings
from preble.errors import ConfigError
from preble_api.bounded_http import BoundedHttp, Limits

KEEP_ALIVE_S: Final = 75
"""Longer than the minute after which proxies close an idle connection themselves."""

GRACE_S: Final = 10
"""How long requests may take to end when the server is told to stop."""

_OTHER_FILES: Final = 256
"""That this process holds beside connections of clients: Redis, files, logs."""


def listen(settings: Settings) -> socket.socket:
    """A bound socket; port 0 takes a free one.

    Raises:
        ConfigError: If the address cannot be had, or is open to others without an api key.
    """
    place = f"{settings.host}:{settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        _require_key_beyond_loopback(settings, str(address[0]))
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        msg = f"cannot listen on {place}: {error.strerror}"
        raise ConfigError(msg) from None
    return bound


def _require_key_beyond_loopback(settings: Settings, address: str) -> None:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if not ip.is_loopback and settings.may_be_open:
        msg = (
            f"host {settings.host} is open to others: set PREBLE_API_KEY, or PREBLE_AUTH=keys to "
            "want those of `preble keys create`, or use 127.0.0.1"
        )
        raise ConfigError(msg)


class ApiServer(uvicorn.Server):
    """Serves an application on a bound socket until SIGINT or SIGTERM, then ends requests.

    Args:
        app: Its lifespan is the caller's business.
        bound: From `listen`.
        max_connections: Clients beyond these are told to come back.
    """

    def __init__(self, app: FastAPI, bound: socket.socket, *, max_connections: int) -> None:
        _allow_files(max_connections + _OTHER_FILES)
        limits = Limits(connections=max_connections)
        super().__init__(
            uvicorn.Config(
                app,
                # It is called, whatever uvicorn says of its type.
                http=cast("Any", partial(BoundedHttp, limits=limits)),
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._bound = bound
        self._stop_waits: Callable[[], None] = app.state.stop_waits

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Told to stop: requests that wait for jobs end now, with an answer."""
        self._stop_waits()
        super().handle_exit(sig, frame)

    async def run_until_stopped(self) -> None:
        """Serve, saying so once connections are accepted."""
        await self.serve(sockets=[self._bound])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, then print the one line that others wait for."""
        await super().startup(sockets)
        sys.stdout.write(f"preble-api listening on {url_of(self._bound)}\n")
        sys.stdout.flush()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on a signal and then return; uvicorn would raise it again and die of it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def _allow_files(number: int) -> None:
    """Have the kernel let this process hold so many files, or as many as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def url_of(bound: socket.socket) -> str:
    """The address as clients on this host use it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

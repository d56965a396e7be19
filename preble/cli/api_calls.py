"""Calls of an api by an operator: one request, one decoded reply."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from preble.client import UnexpectedReply
from preble.client.connection import Connection
from preble.clock import SystemClock
from preble.config import load_settings

RETRY_FOR_S: Final = 10.0
"""Somebody waits at the terminal."""

_T = TypeVar("_T")


class OperatorApi:
    """One api, asked by an operator.

    Args:
        server: A connection to it.
    """

    def __init__(self, server: Connection) -> None:
        self._server = server

    def ask(self, method: str, *path: str, kind: type[_T]) -> _T:
        """What it replies.

        Args:
            method: Of HTTP.
            path: Below `/v1`, part by part.
            kind: The reply's.

        Raises:
            RequestRefused: If it refuses: an unknown name (JobUnknown), or a key that may not.
            ServerUnreachable: If it does not answer.
            UnexpectedReply: If something else answers.
        """
        escaped = "/".join(quote(part, safe="") for part in path)
        reply = self._server.request(method, f"/v1/{escaped}")
        try:
            return msgspec.json.decode(reply.content, type=kind)
        except msgspec.DecodeError as error:
            msg = f"{reply.url} answered, but not as Preble does: {error}"
            raise UnexpectedReply(msg) from None


@contextmanager
def operator_api(
    url: str | None, *, transport: httpx2.BaseTransport | None = None
) -> Generator[OperatorApi]:
    """The api that the flag or `PREBLE_URL` names, with the key of `PREBLE_API_KEY`."""
    settings = load_settings(os.environ, url=url)
    server = Connection(
        settings.url, api_key=settings.api_key, retry_for_s=RETRY_FOR_S, transport=transport,
        clock=SystemClock(), sleep=time.sleep,
    )  # fmt: skip
    try:
        yield OperatorApi(server)
    finally:
        server.close()

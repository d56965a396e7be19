"""Calls of an api by an operator: one request, one decoded reply."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, TypeVar
from urllib.parse import quote

import httpx2

from preble.client.exchange import Exchange, decoded
from preble.client.sync_shell import Shell
from preble.clock import SystemClock
from preble.config import load_settings

RETRY_FOR_S: Final = 10.0
"""Somebody waits at the terminal."""

_T = TypeVar("_T")


class OperatorApi:
    """One api, asked by an operator.

    Args:
        shell: Asks it.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

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
        asked = self._shell.attempts.ask(Exchange(method, f"/v1/{escaped}"))
        return decoded(self._shell.run(asked), kind)


@contextmanager
def operator_api(
    url: str | None, *, transport: httpx2.BaseTransport | None = None
) -> Generator[OperatorApi]:
    """The api that the flag or `PREBLE_URL` names, with the key of `PREBLE_API_KEY`."""
    settings = load_settings(os.environ, url=url)
    shell = Shell(
        settings.url, api_key=settings.api_key, retry_for_s=RETRY_FOR_S, transport=transport,
        clock=SystemClock(), sleep=time.sleep,
    )  # fmt: skip
    try:
        yield OperatorApi(shell)
    finally:
        shell.close()

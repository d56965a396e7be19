"""Engines that outlive a round must forget it before the next."""

from typing import Final

import httpx2

from preble.config import Settings
from preble.errors import PrebleError

FLUSH_TIMEOUT_S: Final = 60.0


class FlushFailed(PrebleError):
    """An engine did not empty its KV cache."""


def flush_engines(settings: Settings) -> None:
    """Empty the KV caches of running engines; those that a round starts are empty anyway.

    Raises:
        FlushFailed: If an engine does not do it.
    """
    if settings.engine != "http":
        return
    for url in filter(None, (each.strip() for each in settings.engine_url.split(","))):
        try:
            reply = httpx2.post(f"{url.rstrip('/')}/flush_cache", timeout=FLUSH_TIMEOUT_S)
            reply.raise_for_status()
        except httpx2.HTTPError as error:
            msg = f"cannot flush the KV cache of the engine at {url}: {error}"
            raise FlushFailed(msg) from error

"""What both clients know of a connection before one is made."""

from typing import Any, Final

from preble.client.attempts import is_loopback
from preble.client.exchange import Exchange

TIMEOUT_S: Final = 30.0
"""For which an answer may be silent."""


def options(url: str, api_key: str) -> dict[str, Any]:
    """Of the HTTP client."""
    return {
        "base_url": url,
        "headers": {"Authorization": f"Bearer {api_key}"} if api_key else None,
        "timeout": TIMEOUT_S,
        # A proxy from the environment cannot reach this machine's own loopback.
        "trust_env": not is_loopback(url),
    }


def arguments(exchange: Exchange) -> dict[str, Any]:
    """Of one request."""
    return {
        "method": exchange.method,
        "url": exchange.path,
        "content": exchange.body,
        "headers": exchange.headers,
        "timeout": TIMEOUT_S + exchange.wait_s,
    }

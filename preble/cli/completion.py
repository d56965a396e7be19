"""What the shell offers where a name is asked for. Never an error: then it offers nothing."""

import os
from typing import Final, get_args

import httpx2
import msgspec

from preble.config import PolicyName, Settings, load_settings
from preble.errors import ConfigError

TIMEOUT_S: Final = 1.0
"""Somebody waits for the list."""


class _Named(msgspec.Struct):
    instance: str


class _Workers(msgspec.Struct):
    data: list[_Named]


def policies(incomplete: str) -> list[str]:
    """Names of policies."""
    return _beginning(incomplete, get_args(PolicyName))


def settings(incomplete: str) -> list[str]:
    """Names of settings."""
    return _beginning(incomplete, Settings.__struct_fields__)


def instances(incomplete: str) -> list[str]:
    """Names of the pool's instances, if the api of PREBLE_URL tells them at once."""
    try:
        told = load_settings(os.environ)
        headers = {"Authorization": f"Bearer {told.api_key}"} if told.api_key else {}
        reply = httpx2.get(f"{told.url}/v1/workers", headers=headers, timeout=TIMEOUT_S)
        workers = msgspec.json.decode(reply.content, type=_Workers).data
    except (ConfigError, httpx2.HTTPError, httpx2.InvalidURL, msgspec.DecodeError):
        return []
    return _beginning(incomplete, [worker.instance for worker in workers])


def _beginning(incomplete: str, names: tuple[str, ...] | list[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]

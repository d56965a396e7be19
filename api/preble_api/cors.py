"""Web pages of other origins: none may ask, unless the operator names its origin."""

import re
from collections.abc import Collection
from typing import Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from preble.errors import ConfigError

_ORIGIN: Final = re.compile(
    r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?"
)
_METHODS: Final = ("GET", "POST", "DELETE")
_READABLE: Final = (
    "Location", "Retry-After", "X-Preble-Job", "X-Request-ID", "X-RateLimit-Limit-Requests",
    "X-RateLimit-Remaining-Requests", "X-RateLimit-Reset-Requests",
)  # fmt: skip
"""Headers of an answer that a page may read."""


def origins_of(setting: str) -> list[str]:
    """The origins that a setting names, separated by commas.

    Raises:
        ConfigError: If one is no exact origin.
    """
    names = [name.strip() for name in setting.split(",") if name.strip()]
    for name in names:
        if not _ORIGIN.fullmatch(name):
            msg = f"setting cors_origins: {name!r} is no origin such as https://app.example.com"
            raise ConfigError(msg)
    return names


def allow_origins(app: FastAPI, origins: Collection[str]) -> None:
    """Let pages of these origins ask, with a key as everybody; without cookies, for there are none.

    Args:
        app: Whose outermost layer this becomes, so that errors can be read as well.
        origins: From `origins_of`; if empty, nothing is added.
    """
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=_METHODS, allow_headers=["*"],
            expose_headers=_READABLE,
        )  # fmt: skip

"""Where a webhook's URL leads, and which URLs are taken at all; no name is looked up here."""

import re
from typing import Final, NamedTuple

import httpx2

MAX_URL_CHARS: Final = 2_048

_PORTS: Final = {"http": 80, "https": 443}
_FIRST_USER_PORT: Final = 1_024
_LAST_PORT: Final = 65_535
_PRINTABLE: Final = re.compile(r"[!-~]+")
_HOST: Final = re.compile(r"[a-z0-9._:-]+")

WRONG_SCHEME: Final = "must begin with https:// or http://"
WRONG_TEXT: Final = (
    f"must be an URL of at most {MAX_URL_CHARS} printable ASCII characters without spaces"
)
WRONG_HOST: Final = "must name a host"
HAS_CREDENTIALS: Final = "must not hold a user or password: events are signed instead"
HAS_FRAGMENT: Final = "must not have a fragment"
WRONG_PORT: Final = "must have port 80, 443, or one from 1024 to 65535"


class Target(NamedTuple):
    """Where an URL leads."""

    url: httpx2.URL
    host: str
    port: int

    @property
    def place(self) -> str:
        """The URL as far as it may be logged: path and query may hold secrets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.url.scheme}://{host}:{self.port}"


def target_of(url: str) -> Target:
    """Where an URL leads. Raises: ValueError, saying what would be right."""
    if not _PRINTABLE.fullmatch(url) or len(url) > MAX_URL_CHARS:
        raise ValueError(WRONG_TEXT)
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise ValueError(WRONG_TEXT) from None
    if parsed.scheme not in _PORTS:
        raise ValueError(WRONG_SCHEME)
    _require_plain(parsed)
    port = _PORTS[parsed.scheme] if parsed.port is None else parsed.port
    if port not in _PORTS.values() and not _FIRST_USER_PORT <= port <= _LAST_PORT:
        raise ValueError(WRONG_PORT)
    return Target(parsed, parsed.raw_host.decode(), port)


def _require_plain(url: httpx2.URL) -> None:
    if url.userinfo:
        raise ValueError(HAS_CREDENTIALS)
    if url.fragment:
        raise ValueError(HAS_FRAGMENT)
    if not _HOST.fullmatch(url.raw_host.decode()):
        raise ValueError(WRONG_HOST)

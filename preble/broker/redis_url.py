"""Where a Redis is, as `redis_url` says it: a server, or Sentinels that know the primary.

    redis://[user:password@]host:port/db                                      rediss:// for TLS
    redis+sentinel://[user:password@]host:port[,host:port …]/service[/db]     rediss+sentinel://

The user is the servers'; Sentinels that want a password get `?sentinel_password=…`.
"""

from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

SENTINEL_PORT: Final = 26_379
_FORM: Final = "redis+sentinel://[user:password@]host:port[,host:port...]/service[/db]"


class SentinelUrl(msgspec.Struct, frozen=True, kw_only=True):
    """Sentinels, and which of their services."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    db: int
    is_tls: bool
    username: str | None
    password: str | None
    sentinel_password: str | None


def is_sentinel_url(url: str) -> bool:
    """Whether a URL names Sentinels."""
    return url.startswith(("redis+sentinel://", "rediss+sentinel://"))


def parse_sentinel_url(url: str) -> SentinelUrl:
    """Read a URL that names Sentinels.

    Raises:
        ValueError: If it has no Sentinel, no service, or what is no port or database.
    """
    parts = urlsplit(url)
    user, _, places = parts.netloc.rpartition("@")
    username, _, password = user.partition(":")
    service, _, db = parts.path.strip("/").partition("/")
    query = parse_qs(parts.query, strict_parsing=bool(parts.query))
    sentinel_password = query.pop("sentinel_password", [None])[0]
    if not service or query:
        msg = f"{query.popitem()[0]} is not known" if query else "it names no service"
        raise ValueError(f"{msg}; write {_FORM}")
    return SentinelUrl(
        sentinels=tuple(_place(place) for place in places.split(",")), service=unquote(service),
        db=_number(db or "0", "database"), is_tls=parts.scheme.startswith("rediss"),
        username=unquote(username) or None, password=unquote(password) or None,
        sentinel_password=sentinel_password,
    )  # fmt: skip


def _place(place: str) -> tuple[str, int]:
    """`host:port`, where an IPv6 address stands in brackets."""
    host, colon, port = place.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = place, str(SENTINEL_PORT)
    if not (host := host.strip("[]")):
        raise ValueError(f"it names no Sentinel; write {_FORM}")
    return host, _number(port, "port")


def _number(text: str, what: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"its {what} is no number; write {_FORM}")  # it may be a password
    return int(text)

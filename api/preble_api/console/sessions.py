"""Sessions of browsers, which cannot send a key with each request: a signed cookie, and no state.

    digest of the key ‖ when the session ends ‖ HMAC-SHA256 of both

The digest opens nothing at the api, which wants the key itself. Whoever asks with the cookie is
whom the key stands for now: one that is revoked ends its sessions with it. Apis that have the
operator's key sign alike, so a login counts at each; one without signs with chance of its own.
"""

import hmac
import secrets
from collections.abc import Callable
from hashlib import scrypt
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.types import Scope

from preble.clock import unix_s
from preble_api.asgi import header
from preble_api.console.paths import ROOT

COOKIE: Final = "preble_console"
SESSION_S: Final = 12 * 3_600
"""After which a browser logs in again."""

_SECRET_BYTES: Final = 32


class Sessions:
    """Makes and reads the cookies.

    Args:
        admin_key: The operator's, from which the secret follows; empty for none.
        now: Unix seconds.

    Cost: 50 ms of CPU to begin with a key, so that a cookie is no quicker way to guess it.
    """

    def __init__(self, admin_key: str, now: Callable[[], float] = unix_s) -> None:
        self._secret = _secret_of(admin_key) if admin_key else secrets.token_bytes(_SECRET_BYTES)
        self._now = now

    def begin(self, digest: str, *, is_https: bool) -> str:
        """The value of `Set-Cookie` for whoever has the key with this digest."""
        signed = f"{digest}.{int(self._now()) + SESSION_S}"
        return _set_cookie(f"{signed}.{self._sign(signed)}", SESSION_S, is_https=is_https)

    def end(self, *, is_https: bool) -> str:
        """The value of `Set-Cookie` that makes a browser forget its session."""
        return _set_cookie("", 0, is_https=is_https)

    def digest_in(self, scope: Scope) -> str | None:
        """Of the key whose session a request belongs to; None for none that counts."""
        signed, _, mac = _cookie_of(scope).rpartition(".")
        if not hmac.compare_digest(mac.encode(), self._sign(signed).encode()):
            return None
        digest, _, ends_at_s = signed.partition(".")
        return digest if int(ends_at_s) > self._now() else None

    def _sign(self, text: str) -> str:
        return hmac.digest(self._secret, text.encode(), "sha256").hex()


def _secret_of(admin_key: str) -> bytes:
    salt = b"preble console"  # of no use but to tell this secret from others of the same key
    return scrypt(admin_key.encode(), salt=salt, n=2**14, r=8, p=1, dklen=_SECRET_BYTES)


def _set_cookie(value: str, max_age_s: int, *, is_https: bool) -> str:
    secure = "; Secure" if is_https else ""
    return f"{COOKIE}={value}; Max-Age={max_age_s}; Path={ROOT}; HttpOnly; SameSite=Strict{secure}"


def _cookie_of(scope: Scope) -> str:
    try:
        cookies = SimpleCookie((header(scope, b"cookie") or b"").decode("latin-1"))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""

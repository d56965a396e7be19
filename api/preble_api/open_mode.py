"""Open mode: an api on loopback that lets everybody in, until there is a key.

"Everybody" is who can connect: the users of this host. A web page that one of them looks at is
not meant, though the browser would connect for it: what looks like a page of another is refused.
"""

import asyncio
import ipaddress
import logging
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.types import Scope

from preble.broker.api_keys import ApiKeys
from preble.clock import Clock
from preble.errors import BrokerUnavailable
from preble_api.asgi import header
from preble_api.errors import HttpError
from preble_api.keyring import FOUND_S, LOOKUP_S

OPEN_WARNING: Final = (
    "open: whoever can connect may submit, read and cancel all jobs; that ends with the first "
    "key that `preble keys create` makes, or with PREBLE_API_KEY"
)

_log = logging.getLogger(__name__)


class Openness:
    """Whether this api lets everybody in: until a key is made, and never again after that.

    Args:
        keys: Which there are.
        clock: Tells when to look again.
        may_be_open: Whether it listens on loopback alone, without an admin key.
    """

    def __init__(self, keys: ApiKeys, clock: Clock, *, may_be_open: bool) -> None:
        self._keys = keys
        self._clock = clock
        self._may_be_open = may_be_open
        self._is_open = False
        self._looked_s = clock.now_s()

    async def begin(self) -> None:
        """Find out, before the first request. Raises: BrokerUnavailable."""
        self._is_open = self._may_be_open and not await self._keys.are_there()
        if self._is_open:
            _log.warning(OPEN_WARNING)

    async def is_open(self, *, is_key_shown: bool) -> bool:
        """Whether it is.

        Args:
            is_key_shown: Whether the request brings a key: then one was just made, perhaps.

        Cost: a question to Redis each `FOUND_S`, and for each such request, while it is open.
        """
        now_s = self._clock.now_s()
        if self._is_open and (is_key_shown or now_s - self._looked_s >= FOUND_S):
            self._looked_s = now_s
            await self._look()
        return self._is_open

    async def _look(self) -> None:
        """While Redis is away nothing is known to have changed, and nothing can be submitted."""
        try:
            async with asyncio.timeout(LOOKUP_S):
                self._is_open = self._is_open and not await self._keys.are_there()
        except (BrokerUnavailable, TimeoutError) as error:
            _log.warning("cannot see whether there are api keys: %s", error)


def require_no_strange_page(scope: Scope, *, origins: frozenset[str]) -> None:
    """Refuse a request that a web page of another site has a browser make.

    A page may have given its own name the address of this host (DNS rebinding), so the name by
    which the api is asked counts, too: an address, or a name without a dot, which no site has.

    Args:
        scope: The request's.
        origins: Of pages that may ask.

    Raises:
        HttpError: If it does (403).
    """
    origin = (header(scope, b"origin") or b"").decode("latin-1")
    host = (header(scope, b"host") or b"").decode("latin-1")
    is_our_page = not origin or origin in origins or origin.partition("://")[2] == host
    if not is_our_page or not _is_local_name(host):
        message = (
            "an api without keys answers who asks for localhost or an address, and no page of "
            "another site: make a key with `preble keys create`"
        )
        raise HttpError(HTTPStatus.FORBIDDEN, "strange_page", message)


def _is_local_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        ipaddress.ip_address(name)
    except ValueError:
        name = host.partition(":")[0]
        return "." not in name.removesuffix(".localhost")
    return True

"""Calling a broker that is away until it is back: every call of it may run twice."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from preble.errors import BrokerUnavailable

RETRY_S: Final = 0.25
TRIES_PER_WARNING: Final = 20

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


async def insist(call: Callable[[], Awaitable[_T]]) -> _T:
    """Call the broker until it answers; says at first, and every five seconds, what it waits for.

    Raises:
        BrokerError: Whatever is not BrokerUnavailable.
    """
    tries = 0
    while True:
        try:
            return await call()
        except BrokerUnavailable as error:
            if tries % TRIES_PER_WARNING == 0:
                _log.warning("%s; trying again", error)
        tries += 1
        await asyncio.sleep(RETRY_S)

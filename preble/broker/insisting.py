"""Calling a broker that is away until it is back: every call of it may run twice."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from preble.errors import BrokerUnavailable

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
TRIES_PER_WARNING: Final = 10

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


async def insist(call: Callable[[], Awaitable[_T]]) -> _T:
    """Call the broker until it answers; says at first, and about every five seconds, why it waits.

    Raises:
        BrokerError: Whatever is not BrokerUnavailable.
    """
    tries, pauses = 0, pauses_s()
    while True:
        try:
            return await call()
        except BrokerUnavailable as error:
            if tries % TRIES_PER_WARNING == 0:
                _log.warning("%s; trying again", error)
        tries += 1
        await asyncio.sleep(next(pauses))


def pauses_s() -> Iterator[float]:
    """Between one try and the next: doubling up to a second, and less by chance.

    So that those whom a broker left together do not return to it all at once.
    """
    longest_s = FIRST_PAUSE_S
    while True:
        yield random.uniform(0.0, longest_s)  # noqa: S311  # spreads retries, hides nothing
        longest_s = min(2 * longest_s, LONGEST_PAUSE_S)

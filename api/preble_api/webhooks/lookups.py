"""Names into addresses, by threads of their own: a client may name one that takes long.

A thread cannot be called back, so a lookup that nobody waits for any more counts until it ends.
Nothing queues here: who finds no thread is told so at once, and comes again later.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Final

from preble_api.webhooks.room import AT_ONCE, AT_ONCE_OF_TENANT

Lookup = Callable[[str, int], Sequence[str]]
"""The addresses of a name, for a port. Blocks. Raises: OSError, UnicodeError."""

_THREADS: Final = "webhook-names"


class LookupsCrowded(Exception):
    """No thread is left for a name; that says nothing of the name."""


class Lookups:
    """Looks up names, so many at once and so many of one tenant.

    Args:
        lookup: Of one name.
    """

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=_THREADS)
        self._lock = Lock()
        self._under_way = Counter[str]()

    def close(self) -> None:
        """Begin no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def addresses(self, host: str, port: int, tenant: str) -> Sequence[str]:
        """The addresses of a name. Raises: LookupsCrowded, and what the lookup raises."""
        self._begin(tenant)
        found = self._threads.submit(self._lookup, host, port)
        found.add_done_callback(partial(self._end, tenant))
        return await asyncio.wrap_future(found)

    def _begin(self, tenant: str) -> None:
        with self._lock:
            if self._under_way.total() >= AT_ONCE or self._under_way[tenant] >= AT_ONCE_OF_TENANT:
                raise LookupsCrowded
            self._under_way[tenant] += 1

    def _end(self, tenant: str, _: Future[Sequence[str]]) -> None:
        """Called by the thread."""
        with self._lock:
            self._under_way -= Counter({tenant: 1})  # keeps none that is at 0

"""Durability `replicated`: a write counts once a replica has it in its append-only file, too.

WAITAOF says how far the servers' files reach of what its connection wrote. So it follows a write
of its own: a script that finds its jobs there already writes none, and must be confirmed as well.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Argument, Client, as_broker_error, translated
from preble.errors import BrokerError, BrokerUnavailable

CONFIRM_WITHIN_S: Final = 4.0
"""Two files that are synced each second, and their word; below the socket's timeout."""

_log = logging.getLogger(__name__)


class Confirmation:
    """Asks whether what was written has reached this server's file and a replica's."""

    def __init__(self, client: Client, keys: PoolKeys) -> None:
        self._client = client
        self.commands: Final[Sequence[Sequence[Argument]]] = (
            ("SET", keys("confirmed"), ""),
            ("WAITAOF", 1, 1, int(CONFIRM_WITHIN_S * 1_000)),
        )
        """To follow the write in question on its connection."""
        self._watching: asyncio.Task[None] | None = None
        self._is_failing = False

    def refusal(self, replies: Sequence[Any]) -> BrokerError | None:
        """What the replies to the commands mean; None if the write is confirmed."""
        for reply in replies:
            if isinstance(reply, Exception):
                return _unconfirmable(reply)
        if all(replies[-1]):
            return None
        msg = f"no replica has confirmed the write in {CONFIRM_WITHIN_S} s: the jobs may exist"
        return BrokerUnavailable(msg)

    def watch(self) -> None:
        """Ask beside all else, one question at a time; where the answer turns to no, warn."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop asking."""
        if self._watching:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def _watch(self) -> None:
        try:
            refusal = self.refusal(await self._ask())
        except BrokerError as error:
            refusal = error
        if refusal and not self._is_failing:
            _log.warning("a failover may lose results, and their jobs run again: %s", refusal)
        self._is_failing = refusal is not None

    async def _ask(self) -> Sequence[Any]:
        with translated():
            async with self._client.pipeline(transaction=False) as pipeline:
                for command in self.commands:
                    pipeline.execute_command(*command)
                return await pipeline.execute(raise_on_error=False)


def _unconfirmable(reply: Exception) -> BrokerError:
    error = reply if isinstance(reply, BrokerError) else as_broker_error(reply)
    if isinstance(error, BrokerUnavailable):
        return error
    msg = f"durability=replicated needs Redis 7.2 or Valkey with `appendonly yes`: {error}"
    return BrokerUnavailable(msg)

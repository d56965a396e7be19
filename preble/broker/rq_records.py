"""RQ's records of instances, as a worker begins and leaves: off the event loop, and dispensable."""

import asyncio
import logging
from collections.abc import Callable

from preble.broker.keys import PoolKeys
from preble.broker.rq_worker import RqWorker
from preble.errors import BrokerUnavailable
from preble.messages import InstanceId

_log = logging.getLogger(__name__)


class RqRecords:
    """The instances of one pool as RQ sees them."""

    def __init__(self, redis_url: str, keys: PoolKeys) -> None:
        self._redis_url = redis_url
        self._keys = keys

    async def announce(self, instance_id: InstanceId) -> None:
        """Record the birth of its worker."""
        await self._write(RqWorker.announce, instance_id)

    async def depart(self, instance_id: InstanceId) -> None:
        """Record the death of its worker."""
        await self._write(RqWorker.depart, instance_id)

    async def _write(self, act: Callable[[str, str], None], instance_id: InstanceId) -> None:
        queue = self._keys.instance_queue(instance_id)
        try:
            await asyncio.to_thread(act, self._redis_url, queue)
        except BrokerUnavailable as error:  # a full Redis: jobs run on without this record
            _log.warning("RQ's record of %s was not written: %s", queue, error)

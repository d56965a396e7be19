"""Delivers what is due, until the receiver takes it or it is given up.

Any api process does so for the whole pool. A webhook is leased for longer than an attempt takes, so
two processes never try at once, and one that dies leaves it to the others.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from preble.broker import Broker
from preble.broker.webhooks import LONGEST_OWED_S, DueWebhook, Room, Verdict, crowded_s
from preble.clock import unix_s
from preble.errors import BrokerError
from preble.metrics import ApiMetrics
from preble_api.webhooks.addresses import TargetRefused
from preble_api.webhooks.events import event_of, needs_view
from preble_api.webhooks.lookups import LookupsCrowded
from preble_api.webhooks.posting import Poster, PostFailed
from preble_api.webhooks.room import AT_ONCE, AT_ONCE_OF_HOST, AT_ONCE_OF_TENANT
from preble_api.webhooks.signing import signed
from preble_api.webhooks.targets import Target, target_of

MOST_ATTEMPTS: Final = 17
"""With the pauses below, over about a day."""

TOO_OLD: Final = "not delivered within a day"

LEASE_S: Final = 30.0
"""Longer than an attempt, with what Redis may take."""

_FIRST_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 16_200.0
_JITTER: Final = 0.2
_IDLE_S: Final = 0.5
_BUSY_S: Final = 0.05

_log: Final = logging.getLogger(__name__)


class Deliveries:
    """The deliveries of one api.

    Args:
        broker: Knows what is due.
        poster: Makes the attempts.
        keys: That sign.
        metrics: Where attempts are counted.
    """

    def __init__(
        self, broker: Broker, poster: Poster, keys: Sequence[bytes], metrics: ApiMetrics
    ) -> None:
        self._broker = broker
        self._poster = poster
        self._keys = keys
        self._counted = metrics.webhook_deliveries
        self._to_host = Counter[tuple[str, int]]()
        self._under_way = Counter[str]()
        """By tenant."""

    async def run(self) -> None:
        """Deliver until cancelled; what was under way then is due again when its lease ends."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self.begin_due(tasks)
                await asyncio.sleep(_BUSY_S if self._under_way else _IDLE_S)

    async def begin_due(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to deliver what is due, as far as there is room."""
        free = AT_ONCE - self._under_way.total()
        if free <= 0:
            return
        try:
            room = Room(free, AT_ONCE_OF_TENANT, self._under_way)
            due = await self._broker.webhooks.take(room, lease_s=LEASE_S)
        except BrokerError:
            return  # what was taken comes back
        self._under_way.update(each.tenant for each in due)
        for each in due:
            tasks.create_task(self._deliver(each))

    async def _deliver(self, due: DueWebhook) -> None:
        try:
            verdict = await self._in_turn(due)
            await self._broker.webhooks.settle(due, verdict)
        except BrokerError:
            _log.warning("webhook of job %s: the queue is away; it will be sent again", due.job_id)
        finally:
            self._under_way -= Counter({due.tenant: 1})  # keeps none that is at 0

    async def _in_turn(self, due: DueWebhook) -> Verdict:
        """One attempt, unless too many are made to its host now, or there were enough."""
        if due.attempt > MOST_ATTEMPTS:
            return Verdict("failed", "no attempt came to an end")
        target = target_of(due.webhook.url)
        if due.owed_s > LONGEST_OWED_S:
            return self._told(due, target, Verdict("failed", TOO_OLD, is_attempt=False))
        host = (target.host, target.port)
        if self._to_host[host] >= AT_ONCE_OF_HOST:
            return _crowded(due)
        self._to_host[host] += 1
        try:
            return await self._attempt(due, target)
        finally:
            self._to_host[host] -= 1
            if not self._to_host[host]:
                del self._to_host[host]

    async def _attempt(self, due: DueWebhook, target: Target) -> Verdict:
        try:
            await self._post(due, target)
        except TargetRefused as error:
            return self._told(due, target, Verdict("refused", str(error)))
        except LookupsCrowded:
            return _crowded(due)
        except PostFailed as error:
            return self._told(due, target, _after_failure(due.attempt, str(error)))
        except BrokerError:
            raise
        except Exception:  # noqa: BLE001  one webhook must not end the deliveries of all
            _log.exception("webhook of job %s", due.job_id)
            return self._told(due, target, _after_failure(due.attempt, "an error inside the api"))
        self._counted.labels("delivered").inc()
        return Verdict("delivered")

    async def _post(self, due: DueWebhook, target: Target) -> None:
        """Raises: TargetRefused, PostFailed, BrokerError."""
        view = await self._broker.view(due.job_id) if needs_view(due) else None
        event = event_of(due, view)
        body = msgspec.json.encode(event)
        headers = signed(self._keys, event.id, int(unix_s()), body)
        await self._poster.post(target, body, headers, attempt=due.attempt, tenant=due.tenant)

    def _told(self, due: DueWebhook, target: Target, verdict: Verdict) -> Verdict:
        """The same, counted and logged."""
        result = {"pending": "failed", "failed": "given_up"}.get(verdict.status, verdict.status)
        self._counted.labels(result).inc()
        _log.warning(
            "webhook of job %s to %s: attempt %s: %s",
            due.job_id, target.place, due.attempt, verdict.error,
        )  # fmt: skip
        return verdict


def _crowded(due: DueWebhook) -> Verdict:
    return Verdict("pending", delay_s=_spread(crowded_s(due.owed_s)), is_attempt=False)


def _after_failure(attempt: int, error: str) -> Verdict:
    if attempt >= MOST_ATTEMPTS:
        return Verdict("failed", error)
    return Verdict("pending", error, pause_s(attempt))


def pause_s(attempt: int) -> float:
    """Seconds to the attempt after this one, twice as many each time, a little spread."""
    return _spread(min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S))


def _spread(seconds: float) -> float:
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  nobody guards with it

"""The leases of one life: renewed while its jobs wait and run, then ended or given up.

finish    an execution has ended          the broker takes its outcome, or refuses a late one
give_up   the engine lost it              it runs elsewhere, and that was an attempt
leave     the life is over                what is left goes back
renew     beside all that                 says which are lost
"""

import asyncio
import logging
from typing import Final

from preble.broker import Broker
from preble.broker.insisting import insist
from preble.errors import BrokerUnavailable
from preble.messages import InstanceRecord, InstanceReport, Lease, Outcome
from preble.metrics import WorkerMetrics
from preble_workers.waiting_room import WaitingRoom

FINISH_TOGETHER: Final = 64

_log = logging.getLogger(__name__)


class Leases:
    """What one life holds, as far as the broker is concerned.

    Args:
        broker: Who leases the jobs.
        record: Names the instance and its epoch.
        room: The jobs that were claimed and have not begun.
        metrics: Where lost leases and late results are counted.
        lease_s: Seconds until a lease expires that is not renewed.
    """

    def __init__(
        self, broker: Broker, record: InstanceRecord, room: WaitingRoom, metrics: WorkerMetrics, *,
        lease_s: float,
    ) -> None:  # fmt: skip
        self._broker = broker
        self._record = record
        self._room = room
        self._metrics = metrics
        self._lease_s = lease_s
        self._outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        self._prompt_tokens = self._hit_tokens = 0
        self.running: dict[Lease, asyncio.Task[None]] = {}
        """Of jobs that have begun, and whose end the broker has neither accepted nor refused."""

    @property
    def num_held(self) -> int:
        """Jobs that wait, and those whose end the broker has neither accepted nor refused."""
        return len(self.running) + len(self._room)

    def ended(self, outcome: Outcome) -> None:
        """An execution has ended: `finish` says so."""
        self._outcomes.put_nowait(outcome)

    async def finish(self) -> None:
        """Wait until an execution has ended, and tell the broker of all that have.

        Raises:
            InstanceFenced: As every call, when this life is over.
        """
        outcomes = [await self._outcomes.get()]
        while not self._outcomes.empty() and len(outcomes) < FINISH_TOGETHER:
            outcomes.append(self._outcomes.get_nowait())
        accepted = await insist(lambda: self._broker.finish(self._record, outcomes))
        for outcome, is_accepted in zip(outcomes, accepted, strict=True):
            self.running.pop(outcome.lease, None)
            self._outcomes.task_done()
            if is_accepted and outcome.result:
                self._prompt_tokens += outcome.result.prompt_tokens
                self._hit_tokens += outcome.result.cached_tokens
            if not is_accepted:
                self._metrics.results_refused.inc()
                _log.warning("late result of job %s was refused", outcome.lease.job_id)

    async def all_ended(self) -> None:
        """Wait until no job runs, and the broker knows how each has ended."""
        while running := [task for task in self.running.values() if not task.done()]:
            await asyncio.wait(running)
        await self._outcomes.join()

    async def renew(self, *, kv_used_tokens: int) -> bool:
        """Renew them all, and stop the jobs whose leases are lost.

        Args:
            kv_used_tokens: KV memory that the running jobs need, for those who watch.

        Returns:
            Whether a job that waited is lost: another may wait instead.
        """
        leases = [*self.running, *self._room.leases]
        report = InstanceReport(kv_used_tokens, self._prompt_tokens, self._hit_tokens)
        lost = await insist(
            lambda: self._broker.renew(self._record, leases, lease_s=self._lease_s, report=report)
        )
        num_waited = sum(self._lose(lease) for lease in lost)
        return num_waited > 0

    def _lose(self, lease: Lease) -> bool:
        """Whether its job waited."""
        self._metrics.leases_lost.inc()
        if task := self.running.pop(lease, None):
            _log.warning("lost the lease of job %s; stopping it", lease.job_id)
            task.cancel()
        elif self._room.discard(lease):
            _log.warning("lost the lease of job %s, which waited", lease.job_id)
            return True
        return False

    async def give_up(self, lease: Lease) -> None:
        """Hand back a job that the engine lost."""
        await insist(lambda: self._broker.release(self._record, [lease], is_attempt=True))
        self.running.pop(lease, None)

    async def hand_back_waiting(self) -> None:
        """Hand back the jobs that wait. Raises: BrokerUnavailable."""
        leases = self._room.leases
        await self._broker.release(self._record, leases, is_attempt=False)
        for lease in leases:
            self._room.discard(lease)

    async def leave(self, *, is_attempt: bool) -> None:
        """Hand back the jobs still held, and retire; if the broker is away, let them expire.

        Args:
            is_attempt: Whether that counts as an attempt of those that ran.
        """
        try:
            await self.hand_back_waiting()
            await self._broker.release(self._record, list(self.running), is_attempt=is_attempt)
            await self._broker.retire(self._record)
        except BrokerUnavailable as error:
            _log.warning("%s; the leases of %d jobs will run out", error, self.num_held)
            return
        _log.info("left the pool handed_back_jobs=%d", len(self.running))

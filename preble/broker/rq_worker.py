"""An instance as RQ sees it: one worker that runs many jobs at once.

RQ's own worker runs one job at a time, at twenty to fifty times the cost of a claim in Lua
(ADR 0002). So this subclass keeps RQ's *records*, birth, death, queue, state and current
executions, while claiming and finishing are `claim.lua` and `done.lua`, which write the
same keys as RQ would. `rq info` and the Job API then show what really happens.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from preble.broker.redis_client import connect_blocking, translated
from preble.errors import PrebleError

RQ_WORKER_TTL_S: Final = 60


def run_by_preble_worker_only() -> None:
    """The function that RQ finds in each job.

    Raises:
        PrebleError: Always: a stock RQ worker listens on a queue that is Preble's.
    """
    msg = "this job can only be run by a Preble worker; stop the RQ worker on this queue"
    raise PrebleError(msg)


class RqWorker(SimpleWorker):
    """The records of one instance's worker in RQ. Blocking: call it off the event loop."""

    @classmethod
    def announce(cls, redis_url: str, queue: str) -> None:
        """Record a birth, also over an earlier life that died without a word.

        Args:
            redis_url: Where.
            queue: The instance's queue, whose name the worker bears.

        Raises:
            BrokerUnavailable: If Redis cannot be reached.
        """
        with cls._connected(redis_url, queue) as worker:
            worker.connection.delete(worker.key)
            worker.register_birth()  # type: ignore[no-untyped-call]  # RQ's own
            worker.set_state("idle")

    @classmethod
    def depart(cls, redis_url: str, queue: str) -> None:
        """Record a death. Raises: BrokerUnavailable."""
        with cls._connected(redis_url, queue) as worker:
            worker.register_death()  # type: ignore[no-untyped-call]  # RQ's own

    @classmethod
    @contextmanager
    def _connected(cls, redis_url: str, queue: str) -> Generator["RqWorker"]:
        with translated(), connect_blocking(redis_url) as client:
            listened = Queue(queue, connection=client, serializer=JSONSerializer)
            yield cls(
                [listened], name=queue, connection=client, serializer=JSONSerializer,
                worker_ttl=RQ_WORKER_TTL_S,
            )  # fmt: skip

    def execute_job(self, job: Job, queue: Queue) -> Any:  # noqa: ANN401, ARG002  # RQ's signature
        """Never: jobs are claimed by script. Raises: PrebleError."""
        run_by_preble_worker_only()

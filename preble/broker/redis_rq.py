"""What RQ's records say of a pool, as rq-exporter would read them, in two round trips.

Names are bounded: those of registered instances, and of ingress queues without the tenant, whom
clients may name.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, get_args

from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Client, translated
from preble.broker.redis_questions import Questions, Replies
from preble.config import Priority
from preble.messages import RqView, RqWorkerView

_QUEUED: Final = "queued"
_REGISTRIES: Final = ("started", "finished", "failed", "canceled")
_FIELDS: Final = ("state", "successful_job_count", "failed_job_count", "total_working_time")


class RedisRq:
    """RQ's records of one pool."""

    def __init__(self, client: Client, keys: PoolKeys) -> None:
        self._client = client
        self._keys = keys

    async def view(self) -> RqView:
        """Workers and jobs. Cost: O(instances + ingress queues)."""
        with translated():
            ingresses = await self._client.smembers(self._keys("ingresses"))
            instances = await self._client.zrange(self._keys("instances"), 0, -1)
            queues = [self._keys.instance_queue(name.decode()) for name in instances]
            replies = await self._ask([name.decode() for name in ingresses], queues)
        jobs = Counter[tuple[str, str]]()
        for (what, queue), reply in replies.items():
            if what != "worker":
                jobs[self._without_tenant(queue), what] += reply
        workers = (_worker(queue, replies["worker", queue]) for queue in queues)
        return RqView(tuple(each for each in workers if each), jobs)

    async def _ask(self, ingresses: list[str], queues: list[str]) -> Replies:
        questions: Questions = dict(self._questions(ingresses, queues))
        async with self._client.pipeline(transaction=False) as pipeline:
            for command in questions.values():
                pipeline.execute_command(*command)
            return dict(zip(questions, await pipeline.execute(), strict=True))

    def _questions(self, ingresses: list[str], queues: list[str]) -> Iterator[Any]:
        for queue in (*ingresses, *queues):
            yield (_QUEUED, queue), ("LLEN", self._keys("queue", queue=queue))
        for queue in queues:
            for registry in _REGISTRIES:
                yield (registry, queue), ("ZCARD", self._keys(registry, queue=queue))
            yield ("worker", queue), ("HMGET", self._keys("worker", worker=queue), *_FIELDS)

    def _without_tenant(self, queue: str) -> str:
        for priority in get_args(Priority):
            stem = self._keys.ingress_queue(priority, "")
            if queue.startswith(stem):
                return stem.rstrip(".")
        return queue


def _worker(queue: str, fields: list[bytes | None]) -> RqWorkerView | None:
    """None once its hash is gone, as it is after a minute of silence."""
    state, succeeded, failed, working_s = fields
    if state is None:
        return None
    return RqWorkerView(
        name=queue, state=state.decode(), succeeded=int(succeeded or 0), failed=int(failed or 0),
        working_s=float(working_s or 0),
    )  # fmt: skip

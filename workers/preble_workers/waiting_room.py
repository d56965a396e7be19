"""Jobs that a worker has claimed and not yet started.

    claim ─▶ waiting room ─in the wait order─▶ a slot and KV memory of the engine

They are leased like those that run, and handed back when the life ends: that was no attempt.
The order follows what the engine's KV cache holds now. The head waits for KV memory, and
nothing overtakes it meanwhile.
"""

from dataclasses import dataclass

from preble.config import WaitOrder
from preble.messages import ClaimedJob, Lease
from preble.wait_queue import WaitQueue
from preble_workers.hit_predictor import HitPredictor, PromptPages
from preble_workers.kv_budget import KvBudget


@dataclass(frozen=True, slots=True, eq=False)
class WaitingJob:
    """A claimed job with the pages of its prompt, which are cut once."""

    job: ClaimedJob
    pages: PromptPages
    submitted_at_s: float
    """On the worker's clock."""


class WaitingRoom:
    """The jobs of one life that wait, in their order.

    Args:
        order: In which they start.
        predictor: Knows which of their tokens are held.
    """

    def __init__(self, order: WaitOrder, predictor: HitPredictor) -> None:
        self._predictor = predictor
        self._cache_version = predictor.cache_version
        self._queue = WaitQueue[WaitingJob](order, lambda each: predictor.held_tokens(each.pages))
        self._waiting: dict[Lease, WaitingJob] = {}
        self.tokens = 0
        """KV memory that the jobs will need."""

    def __len__(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    @property
    def leases(self) -> list[Lease]:
        """Of all jobs that wait."""
        return list(self._waiting)

    def enter(self, job: ClaimedJob, *, submitted_at_s: float) -> None:
        """A job begins to wait. Cost: O(its prompt)."""
        pages = self._predictor.pages_of(job.prompt, job.spec.cache_salt)
        waiting = self._waiting[job.lease] = WaitingJob(job, pages, submitted_at_s)
        self._queue.push(waiting, prompt_tokens=job.spec.prompt_tokens)
        self.tokens += job.spec.total_tokens

    def take(self, kv: KvBudget) -> WaitingJob | None:
        """The next job, if what it needs of KV memory is free; it waits no more.

        Cost: O(waiting · log pages) if the cache changed since the last, else O(log waiting).
        """
        if self._cache_version != self._predictor.cache_version:
            self._cache_version = self._predictor.cache_version
            self._queue.cache_changed()
        head = self._queue.peek()
        if head is None:
            return None
        if kv.needed_tokens(head.pages, head.job.spec.total_tokens) > kv.free_tokens:
            return None
        self.discard(head.job.lease)
        return head

    def discard(self, lease: Lease) -> bool:
        """Forget a job. Returns: Whether it waited here."""
        waiting = self._waiting.pop(lease, None)
        if waiting is None:
            return False
        self._queue.remove(waiting)
        self.tokens -= waiting.job.spec.total_tokens
        return True

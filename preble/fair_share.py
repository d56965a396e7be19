"""Whose turn it is: fair shares of the engines' work among priorities, and among tenants.

Start-time fair queueing, in tokens, on two levels. A queue that is served lies back by what it
was served over its share, and the queue that lies back least has its turn:

    start(queue)  = max(now, finish(queue))
    serve(queue)    now = start(queue);  finish(queue) = start(queue) + tokens / share

So whoever asks for less than its share never waits for those who flood, whoever was idle
saves nothing up, and nobody who waits is left out: in any stretch of time, two queues that
wait throughout get their shares but for one job each.

Source: Goyal, Vin, Cheng, "Start-time Fair Queueing", 1996.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heapreplace
from statistics import median_low
from typing import Final, TypeAlias

from preble.config import Priority

Queue: TypeAlias = tuple[Priority, str]
"""A priority and a tenant."""

SHARES: Final[dict[Priority, float]] = {"high": 16.0, "normal": 4.0, "batch": 1.0}
"""Of what is served while jobs of all of them wait, the most urgent first: each four times the
next, so that a flood of batch jobs takes a fifth of what normal ones could use, no more, and
gets that much, no less. Tenants of one priority share alike."""

_URGENCY: Final[dict[Priority, int]] = {priority: at for at, priority in enumerate(SHARES)}

_REMEMBERED: Final = 1_024
"""Most that share one thing and are known to lie back: beyond, half of them are forgiven."""


class _Level:
    """Who was served how much, of those who share one thing."""

    def __init__(self) -> None:
        self._now = 0.0
        self._finish: dict[str, float] = {}

    def start(self, name: str) -> float:
        """The lower, the sooner it is its turn."""
        return max(self._now, self._finish.get(name, 0.0))

    def serve(self, name: str, amount: float) -> None:
        """It got so much of its share."""
        self._now = self.start(name)
        self._finish[name] = self._now + amount
        if len(self._finish) > _REMEMBERED:
            self._forget_half()

    def _forget_half(self) -> None:
        """Those who lie back least are taken for those who do not at all."""
        self._now = max(self._now, median_low(self._finish.values()))
        self._finish = {each: at for each, at in self._finish.items() if at > self._now}

    def copy(self) -> "_Level":
        """The same, apart."""
        twin = _Level()
        twin._now, twin._finish = self._now, dict(self._finish)
        return twin


class FairShare:
    """What each queue was served, as far as it still matters. Memory: those that lie back."""

    def __init__(self) -> None:
        self.priorities = _Level()
        self.tenants = {priority: _Level() for priority in SHARES}

    def turn(self, queue: Queue) -> tuple[float, int, float]:
        """The lower, the sooner it is the queue's turn. Cost: O(1)."""
        priority, tenant = queue
        start = self.tenants[priority].start(tenant)
        return self.priorities.start(priority), _URGENCY[priority], start

    def serve(self, queue: Queue, tokens: float) -> None:
        """A job of a queue was placed that will take so many tokens of work. Cost: O(1)."""
        priority, tenant = queue
        self.priorities.serve(priority, tokens / SHARES[priority])
        self.tenants[priority].serve(tenant, tokens)

    def copy(self) -> "FairShare":
        """One that can be served without this one knowing."""
        twin = FairShare()
        twin.priorities = self.priorities.copy()
        twin.tenants = {name: level.copy() for name, level in self.tenants.items()}
        return twin


class Turns:
    """The order in which some queues are served from now on, a job at a time.

    Args:
        shares: Which is told what is served.
        queues: Those with jobs.
    """

    def __init__(self, shares: FairShare, queues: Iterable[Queue]) -> None:
        self._shares = shares
        self._waiting: dict[Priority, list[tuple[float, str]]] = {}
        for priority, tenant in queues:
            start = shares.tenants[priority].start(tenant)
            self._waiting.setdefault(priority, []).append((start, tenant))
        for tenants in self._waiting.values():
            heapify(tenants)

    def __bool__(self) -> bool:
        """Whether any queue is left."""
        return bool(self._waiting)

    @property
    def queue(self) -> Queue:
        """Whose turn it is; of equals, the more urgent one, then the lower name."""
        waiting: list[Priority] = [each for each in SHARES if each in self._waiting]
        priority = min(waiting, key=self._shares.priorities.start)
        return priority, self._waiting[priority][0][1]

    def serve(self, tokens: float, *, is_last: bool = False) -> None:
        """The queue whose turn it is got a job placed, and stays, unless it was its last.

        Cost: O(log tenants).
        """
        priority, tenant = queue = self.queue
        if is_last:
            self.leave()
        self._shares.serve(queue, tokens)
        if not is_last:
            start = self._shares.tenants[priority].start(tenant)
            heapreplace(self._waiting[priority], (start, tenant))

    def leave(self) -> None:
        """The queue whose turn it is has no more jobs. Cost: O(log tenants)."""
        priority, _ = self.queue
        heappop(self._waiting[priority])
        if not self._waiting[priority]:
            del self._waiting[priority]

"""Where requests wait for an assignment: a queue for each class and tenant, as in Redis."""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from msgspec.structs import replace

from preble.messages import DEFAULT_TENANT, JobId, JobSpec, SamplingParams, WaitingJob
from preble.simulator.outcome import PoolSettings
from preble.simulator.workload.request import TimedRequest

_FIRST: Final = False
"""Which end of an ordered dict is meant."""


class _Waiting(NamedTuple):
    job: WaitingJob
    since_s: float


class Ingress:
    """Requests by their number in the workload; first come, first served in each queue.

    Args:
        settings: Say how many of each queue are considered at once.
        max_new_tokens: Of every job: what a client sets who does not know its outputs.
    """

    def __init__(self, settings: PoolSettings, *, max_new_tokens: int) -> None:
        self._settings = settings
        self._sampling = SamplingParams(max_new_tokens=max_new_tokens)
        # By name, in the order of names. A plain dict would walk over all that has left it.
        self._queues: dict[str, OrderedDict[int, _Waiting]] = {}
        self._num = 0

    def __len__(self) -> int:
        """Requests that wait."""
        return self._num

    def __iter__(self) -> Iterator[WaitingJob]:
        """All that wait, queue by queue."""
        for queue in self._queues.values():
            yield from (waiting.job for waiting in queue.values())

    def add(self, number: int, request: TimedRequest) -> bool:
        """A request waits, behind all of its class and tenant. Returns: if its window has it."""
        name, tenant = _queue_of(request), request.tenant or DEFAULT_TENANT
        spec = JobSpec(
            request.prompt_tokens, self._sampling, priority=request.priority, tenant=tenant
        )
        if name not in self._queues:
            self._queues = dict(sorted([*self._queues.items(), (name, OrderedDict())]))
        job = WaitingJob(JobId(str(number)), name, spec, request.block_keys)
        self._queues[name][number] = _Waiting(job, request.at_s)
        self._num += 1
        return len(self._queues[name]) <= self._window(name)

    def put_back(self, number: int, request: TimedRequest) -> None:
        """A request waits again, before all of its class and tenant."""
        self.add(number, request)
        self._queues[_queue_of(request)].move_to_end(number, _FIRST)

    def remove(self, number: int, request: TimedRequest) -> None:
        """A request waits no more."""
        del self._queues[_queue_of(request)][number]
        self._num -= 1

    def windows(self, now_s: float) -> list[WaitingJob]:
        """The first of each queue, with the time they have waited. Cost: O(windows)."""
        first: list[_Waiting] = []
        for name, queue in self._queues.items():
            first += islice(queue.values(), self._window(name))
        return [replace(each.job, waited_s=now_s - each.since_s) for each in first]

    def _window(self, name: str) -> int:
        is_batch = name.startswith("batch.")
        return self._settings.batch_window_jobs if is_batch else self._settings.window_jobs


def _queue_of(request: TimedRequest) -> str:
    return f"{request.priority}.{request.tenant or DEFAULT_TENANT}"

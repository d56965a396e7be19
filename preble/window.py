"""The window: the jobs at the head of each ingress queue, which a plan places virtually.

A prompt's place in the prefix tree is kept for as long as its job is in the window, so that no
plan has to look it up, or to make it, again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import msgspec

from preble.fair_share import FairShare, Queue, Turns
from preble.fleet import Fleet
from preble.instance import PlacedRequest
from preble.messages import JobId, WaitingJob, unpack_keys
from preble.policy import Options
from preble.prefix_tree import Match, Node


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A job of the window, and where its prompt lies in the tree."""

    job: WaitingJob
    keys: list[int]
    leaf: Node | None
    """None if it fills no block, or has no place there."""

    @property
    def queue(self) -> Queue:
        """Whose job it is."""
        return self.job.spec.priority, self.job.spec.tenant

    @property
    def is_batch(self) -> bool:
        """Whether it keeps its place in its queue: batches are sorted when they are submitted."""
        return self.job.spec.priority == "batch"

    def match(self, fleet: Fleet) -> Match:
        """Who holds how much of it. Cost: O(nodes on its path)."""
        if self.leaf is None:
            return fleet.tree.match(self.keys, fleet.mask)
        return fleet.tree.match_at(self.leaf, fleet.mask)

    def options(self, fleet: Fleet, now_s: float) -> Options:
        """The same before all instances. Cost: O(instances + nodes on its path)."""
        spec = self.job.spec
        return Options(
            fleet, self.job.job_id, self.keys, self.match(fleet),
            prompt_tokens=spec.prompt_tokens, max_new_tokens=spec.sampling.max_new_tokens,
            now_s=now_s,
        )  # fmt: skip

    def place(self, options: Options, row: int) -> PlacedRequest:
        """Count it on an instance, until the fleet is told to forget or to remember it.

        Cost: O(nodes on its path).
        """
        fleet = options.fleet
        return fleet.place(
            options.job_id, fleet.rows[row], self.keys, options.match,
            prompt_tokens=options.prompt_tokens, hit_tokens=options.hits[row],
            prefill_s=float(options.prefill_s[row]), now_s=options.now_s,
        )  # fmt: skip


class Window:
    """The jobs that wait at the head of their queues. Iterates over them as they were given.

    Args:
        fleet: In whose tree their places are kept.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._waiting: dict[JobId, Waiting] = {}

    def __iter__(self) -> Iterator[Waiting]:
        """All jobs, those of each queue in its order; a job may leave meanwhile."""
        yield from list(self._waiting.values())

    def __contains__(self, job_id: JobId) -> bool:
        """Whether a job is in the window."""
        return job_id in self._waiting

    @property
    def queues(self) -> set[Queue]:
        """Those with a job in the window."""
        return {each.queue for each in self._waiting.values()}

    def follow(self, jobs: Sequence[WaitingJob]) -> bool:
        """These are in the window now, and no others.

        Returns:
            Whether any was not before.

        Cost: O(jobs), and O(its blocks) for each that is new.
        """
        earlier, self._waiting = self._waiting, {}
        has_new = False
        for job in jobs:
            known = earlier.pop(job.job_id, None)
            has_new |= known is None
            self._waiting[job.job_id] = (
                self._enter(job) if known is None else Waiting(job, known.keys, known.leaf)
            )
        for gone in earlier.values():
            self._drop(gone)
        return has_new

    def leave(self, job_id: JobId) -> None:
        """A job waits no more."""
        self._drop(self._waiting.pop(job_id))

    def in_turn(
        self, shares: FairShare, tokens: Callable[[float], float], *, most: int
    ) -> Iterator[Waiting]:
        """Jobs in the order in which their queues would be served from now on.

        Args:
            shares: By which; told what is served, so give it a copy.
            tokens: Work of a job with so many prompt tokens.
            most: Jobs.
        """
        queues: dict[Queue, list[Waiting]] = defaultdict(list)
        for waiting in reversed(self._waiting.values()):
            queues[waiting.queue].append(waiting)
        if len(queues) == 1:
            [only] = queues.values()
            yield from islice(reversed(only), most)
            return
        turns = Turns(shares, queues)
        for _ in range(min(len(self._waiting), most)):
            queue = turns.queue
            waiting = queues[queue].pop()
            turns.serve(tokens(waiting.job.spec.prompt_tokens), is_last=not queues[queue])
            yield waiting

    def _enter(self, job: WaitingJob) -> Waiting:
        fleet = self._fleet
        fleet.forget(job.job_id)  # it waits again: whatever was believed of it is over
        keys = unpack_keys(job.block_keys)
        leaf = fleet.tree.insert(keys, fleet.tree.match(keys, 0)) if keys else None
        if leaf is not None:
            fleet.tree.wait(leaf)
        return Waiting(job, keys, leaf)

    def _drop(self, waiting: Waiting) -> None:
        if waiting.leaf is not None:
            self._fleet.tree.unwait(waiting.leaf)

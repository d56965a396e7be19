"""Planned late binding: what waits stays in the ingress until an instance has use for it.

    jobs that wait, in turns      every one placed virtually, by the policy, each seeing those
      of their queues             placed before it: backlog, jobs there, expected blocks
            │
            ▼
    an instance with credit       takes jobs that are planned for it: the queue whose turn it is
            │                     first, in a queue the shortest prefill, in memory that is free;
            │                     batch jobs in the order in which they wait
            │                     a queue that others were served before, a job on each instance,
            │                     takes the cheapest of those that have credit
            ▼
    all others                    wait on, and are planned anew when more is known

An instance has *credit* while the prefill placed there is predicted to keep it busy for less
than `credit_s`, a slot of its engine is free, and so is KV memory. A plan is made when some
instance has half of it left and several slots, so that one plan serves several short jobs. No
job waits for an instance by a timeout: the plan says each time anew whether waiting is worth it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from preble.decision import assignment_of
from preble.fair_share import FairShare, Queue, Turns
from preble.fleet import Fleet
from preble.history import Column
from preble.instance import PlacedRequest
from preble.messages import Assignment, JobId, WaitingJob, unpack_keys
from preble.policy import Choice, Options, Policy
from preble.prefix_tree import Match, Node

MAX_PLANNED: Final = 1_024
"""Jobs placed virtually at once: some 50 ms, or three times that of as many tenants."""

AGING: Final = 0.1
"""Seconds of prefill that a second of waiting is worth: a job that takes 1 s longer waits for
at most those that come within 10 s."""


MAX_SKIPS: Final = 16
"""Jobs that take the KV memory a larger one waits for. Then it goes to its instance, where nothing
starts before it."""

ASKING_SLOTS: Final = 1 / 16
"""Of an engine's slots, free before a plan is made for it: fewer plans, for 3 % of idle slots."""


class _Waiting(msgspec.Struct, frozen=True, gc=False):
    """A job of the window, and where its prompt lies in the tree."""

    job: WaitingJob
    keys: list[int]
    leaf: Node | None

    @property
    def queue(self) -> Queue:
        return self.job.spec.priority, self.job.spec.tenant


class _Planned(msgspec.Struct, frozen=True, gc=False):
    """A job that was placed virtually."""

    rank: float
    waiting: _Waiting
    choice: Choice


class Planner:
    """Makes plans for one fleet, and remembers who was served and what is in the window.

    Args:
        fleet: Whose instances; between plans as if no plan had been made.
        policy: The objective.
    """

    def __init__(self, fleet: Fleet, policy: Policy) -> None:
        self._fleet = fleet
        self._policy = policy
        self._shares = FairShare()
        self._window: dict[JobId, _Waiting] = {}
        self._relief: Column = np.zeros(0)
        """That of each instance when the last plan was made."""
        self._skips: dict[JobId, int] = {}
        """How often others took the memory that a job of the window waits for."""
        self._passed_over: dict[Queue, int] = {}
        """Jobs of other queues that were placed since it was a queue's turn."""

    def has_credit(self, credit_s: float) -> bool:
        """Whether any instance has enough of it for a plan. Cost: O(instances)."""
        return bool(self._asks(credit_s).any())

    def plan(
        self, jobs: Sequence[WaitingJob], *, credit_s: float, now_s: float
    ) -> list[tuple[Assignment, PlacedRequest]]:
        """Place what instances have use for now.

        Args:
            jobs: The first of each queue, in its order.
            credit_s: Seconds of predicted prefill that an instance is given ahead.
            now_s: Clock seconds.

        Returns:
            What was placed, in no order that matters; it counts on its instance.

        Cost: O(jobs · (instances + nodes on their paths)) if any instance has credit and
        anything changed since the last plan, else O(jobs).
        """
        has_new = self._enter(jobs)
        if not self.has_credit(credit_s) or not (has_new or self._is_relieved(credit_s)):
            return []
        placed = list(self._take_what_insists(credit_s=credit_s, now_s=now_s))
        planned = self._place_virtually(credit_s=credit_s, now_s=now_s)
        for row, queues in planned.items():
            placed += self._take(row, queues, credit_s=credit_s, now_s=now_s)
        self._relief = self._fleet.relief.copy()
        return placed

    # The window.

    def _enter(self, jobs: Sequence[WaitingJob]) -> bool:
        """Follow the window. Returns: whether a job is new in it."""
        window: dict[JobId, _Waiting] = {}
        has_new = False
        for job in jobs:
            known = self._window.pop(job.job_id, None)
            if known is None:
                window[job.job_id] = self._begin(job)
                has_new = True
            else:
                window[job.job_id] = _Waiting(job, known.keys, known.leaf)
        for gone in self._window.values():
            self._end(gone)
        self._window = window
        self._skips = {job_id: each for job_id, each in self._skips.items() if job_id in window}
        waiting = {each.queue for each in window.values()}
        self._passed_over = {queue: self._passed_over.get(queue, 0) for queue in waiting}
        return has_new

    def _begin(self, job: WaitingJob) -> _Waiting:
        """Keep the prompt's place in the tree, so that no plan has to make it again."""
        fleet = self._fleet
        fleet.forget(job.job_id)  # it waits again: whatever was believed of it is over
        keys = unpack_keys(job.block_keys)
        leaf = fleet.tree.insert(keys, fleet.tree.match(keys, 0)) if keys else None
        if leaf is not None:
            fleet.tree.wait(leaf)
        return _Waiting(job, keys, leaf)

    def _end(self, waiting: _Waiting) -> None:
        if waiting.leaf is not None:
            self._fleet.tree.unwait(waiting.leaf)

    # The plan.

    def _credit(self, credit_s: float) -> npt.NDArray[np.bool_]:
        fleet = self._fleet
        has_room = (fleet.outstanding == 0) | (fleet.free_kv_tokens > 0)
        has_slot = fleet.outstanding < fleet.slots
        credit: npt.NDArray[np.bool_] = (fleet.backlog_s < credit_s) & has_slot & has_room
        return credit

    def _asks(self, credit_s: float) -> npt.NDArray[np.bool_]:
        """Which instances have half of their credit left, and not just one slot."""
        fleet = self._fleet
        free_slots = fleet.slots - fleet.outstanding
        asks: npt.NDArray[np.bool_] = self._credit(credit_s / 2) & (
            free_slots >= np.ceil(fleet.slots * ASKING_SLOTS)
        )
        return asks

    def _is_relieved(self, credit_s: float) -> bool:
        """Whether an instance that has credit can take more than at the last plan.

        What was not planned for one that had credit then, is not now that others have more.
        """
        relief, before = self._fleet.relief, self._relief
        if len(relief) != len(before):
            return True
        return bool((self._asks(credit_s) & (relief != before)).any())

    def _has_credit(self, row: int, credit_s: float) -> bool:
        return bool(self._credit(credit_s)[row])

    def _place_virtually(
        self, *, credit_s: float, now_s: float
    ) -> dict[int, dict[Queue, list[_Planned]]]:
        """By row of those with credit, then by queue, the last to take first.

        Ends early when all credit is used up and only batch jobs are left: they are taken in
        their order, so later ones do not matter. Changes: nothing in the end.
        """
        fleet = self._fleet
        rows: list[int] = self._credit(credit_s).nonzero()[0].tolist()
        planned: dict[int, dict[Queue, list[_Planned]]] = {row: defaultdict(list) for row in rows}
        open_rows = set(planned)
        num_ranked = sum(each.queue[0] != "batch" for each in self._window.values())
        virtual: list[JobId] = []
        for waiting in self._in_turn():
            is_ranked = waiting.job.spec.priority != "batch"
            num_ranked -= is_ranked
            options = self._options(waiting, now_s)
            choice = self._policy.choose(options)
            row = choice.row
            self._place(waiting, options, row, now_s)
            virtual.append(options.job_id)
            if row not in planned:
                continue
            rank = (
                float(options.prefill_s[row]) - AGING * waiting.job.waited_s if is_ranked else 0.0
            )
            planned[row][waiting.queue].append(_Planned(rank, waiting, choice))
            if row in open_rows and not self._has_credit(row, credit_s):
                open_rows.remove(row)
            if not (open_rows or num_ranked):
                break
        for job_id in virtual:
            fleet.forget(job_id)
        for queues in planned.values():
            for candidates in queues.values():
                candidates.reverse()
                candidates.sort(key=lambda each: -each.rank)  # stable: of equals, the first last
        return planned

    def _in_turn(self) -> Iterator[_Waiting]:
        """The first `MAX_PLANNED` jobs, as if their queues were served in turn."""
        queues: dict[Queue, list[_Waiting]] = defaultdict(list)
        for waiting in reversed(self._window.values()):
            queues[waiting.queue].append(waiting)
        if len(queues) == 1:
            [only] = queues.values()
            yield from islice(reversed(only), MAX_PLANNED)
            return
        turns = Turns(self._shares.copy(), queues)
        for _ in range(min(len(self._window), MAX_PLANNED)):
            queue = turns.queue
            waiting = queues[queue].pop()
            turns.serve(self._tokens(waiting.job.spec.prompt_tokens))
            if not queues[queue]:
                turns.leave(queue)
            yield waiting

    def _take(
        self, row: int, queues: dict[Queue, list[_Planned]], *, credit_s: float, now_s: float
    ) -> Iterator[tuple[Assignment, PlacedRequest]]:
        """Place for good what is planned for an instance, while it has credit."""
        turns = Turns(self._shares, queues)
        while turns and self._has_credit(row, credit_s):
            queue = turns.queue
            taken = self._next_that_fits(row, queues[queue], now_s)
            if taken is None:
                turns.leave(queue)
                continue
            yield taken
            self._note_turn(queue)
            turns.serve(self._tokens(taken[1].miss_tokens))

    def _note_turn(self, served: Queue) -> None:
        """A queue is served: those whose turn it was before are passed over."""
        turn = self._shares.turn(served)
        for queue in self._passed_over:
            if self._shares.turn(queue) < turn:
                self._passed_over[queue] += 1
        self._passed_over[served] = 0

    def _take_what_insists(
        self, *, credit_s: float, now_s: float
    ) -> Iterator[tuple[Assignment, PlacedRequest]]:
        """The first job of each queue that was passed over by one on each instance.

        It goes where it costs least of what has credit. A queue that keeps within its share is
        thus served within the credit of any instance, however well others are held elsewhere; two
        that flood alike are seldom passed over so often, and lose nothing.
        """
        insisting = {
            queue for queue, times in self._passed_over.items() if times >= len(self._fleet.rows)
        }
        for waiting in list(self._window.values()) if insisting else ():
            if waiting.queue not in insisting:
                continue
            insisting.remove(waiting.queue)
            taken = self._settle_anywhere(waiting, credit_s=credit_s, now_s=now_s)
            if taken is not None:
                self._passed_over[waiting.queue] = 0
                self._shares.serve(waiting.queue, self._tokens(taken[1].miss_tokens))
                yield taken

    def _settle_anywhere(
        self, waiting: _Waiting, *, credit_s: float, now_s: float
    ) -> tuple[Assignment, PlacedRequest] | None:
        choice = self._policy.choose(self._options(waiting, now_s))
        if choice.cost is None:
            return None
        cost = np.where(self._credit(credit_s), choice.cost, np.inf)
        row = int(cost.argmin())
        fits = self._fits(row, self._match(waiting), waiting.job.spec.prompt_tokens)
        if not (np.isfinite(cost[row]) and fits):
            return None
        return self._settle(row, _Planned(0.0, waiting, replace(choice, row=row)), now_s)

    def _next_that_fits(
        self, row: int, candidates: list[_Planned], now_s: float
    ) -> tuple[Assignment, PlacedRequest] | None:
        skipped: list[JobId] = []
        while candidates:
            planned = candidates.pop()
            job = planned.waiting.job
            is_overdue = self._skips.get(job.job_id, 0) >= MAX_SKIPS
            if is_overdue or self._fits(row, self._match(planned.waiting), job.spec.prompt_tokens):
                for each in skipped:
                    self._skips[each] = self._skips.get(each, 0) + 1
                return self._settle(row, planned, now_s)
            skipped.append(job.job_id)
        return None

    def _fits(self, row: int, match: Match, prompt_tokens: int) -> bool:
        fleet = self._fleet
        if not fleet.outstanding[row]:
            return True
        needed_tokens = fleet.needed_kv_tokens(match, prompt_tokens)
        return bool(needed_tokens[row] <= fleet.free_kv_tokens[row])

    def _settle(
        self, row: int, planned: _Planned, now_s: float
    ) -> tuple[Assignment, PlacedRequest]:
        """What others were planned for has not come true: hits are looked up anew."""
        waiting, choice = planned.waiting, planned.choice
        options = self._options(waiting, now_s)
        assignment = assignment_of(options, choice, policy=self._policy.name)
        placed = self._place(waiting, options, row, now_s)
        self._end(self._window.pop(waiting.job.job_id))
        return assignment, placed

    # Helpers.

    def _tokens(self, prompt_tokens: float) -> float:
        """Work of a job: what it computes, and a mean output."""
        return prompt_tokens + self._fleet.history.mean_output_tokens

    def _match(self, waiting: _Waiting) -> Match:
        tree, mask = self._fleet.tree, self._fleet.mask
        if waiting.leaf is None:
            return tree.match(waiting.keys, mask)
        return tree.match_at(waiting.leaf, mask)

    def _options(self, waiting: _Waiting, now_s: float) -> Options:
        spec = waiting.job.spec
        return Options(
            self._fleet, waiting.job.job_id, waiting.keys, self._match(waiting),
            prompt_tokens=spec.prompt_tokens, max_new_tokens=spec.sampling.max_new_tokens,
            now_s=now_s,
        )  # fmt: skip

    def _place(self, waiting: _Waiting, options: Options, row: int, now_s: float) -> PlacedRequest:
        return self._fleet.place(
            options.job_id, self._fleet.rows[row], waiting.keys, options.match,
            prompt_tokens=options.prompt_tokens, hit_tokens=options.hits[row],
            prefill_s=float(options.prefill_s[row]), now_s=now_s,
        )  # fmt: skip

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

A plan is made when an instance asks for jobs (`credit`). No job waits for an instance by a
timeout: the plan says each time anew whether waiting is worth it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import msgspec
import numpy as np
from msgspec.structs import replace

from preble.credit import Credit
from preble.decision import assignment_of
from preble.fair_share import FairShare, Queue, Turns
from preble.fleet import Fleet
from preble.instance import PlacedRequest
from preble.messages import Assignment, JobId, WaitingJob
from preble.policy import Choice, Policy
from preble.window import Waiting, Window

MAX_PLANNED: Final = 1_024
"""Jobs placed virtually at once: some 50 ms, or three times that of as many tenants."""

AGING: Final = 0.2
"""Seconds of prefill that a second of waiting is worth: a job that takes 1 s longer waits for
at most those that come within 5 s."""

RANKED_S: Final = 5.0
"""Prefill that counts for a job's rank: a very long prompt waits no longer for shorter ones than
one of 5 s does. As many seconds count for others when the policy weighs it."""

MAX_SKIPS: Final = 16
"""Jobs that take the KV memory a larger one waits for. Then it goes to its instance, where nothing
starts before it."""


Placed: TypeAlias = tuple[Assignment, PlacedRequest]


class _Planned(msgspec.Struct, frozen=True, gc=False):
    """A job that was placed virtually."""

    waiting: Waiting
    choice: Choice
    prefill_s: float

    @property
    def rank(self) -> float:
        """In its queue, the lowest is taken first; of equals, the one that came first."""
        if self.waiting.is_batch:
            return 0.0
        return min(self.prefill_s, RANKED_S) - AGING * self.waiting.job.waited_s


_Candidates: TypeAlias = dict[Queue, list[_Planned]]
"""What is planned for one instance, by queue; the last of each is to be taken first."""


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
        self._window = Window(fleet)
        self._credit = Credit(fleet)
        self._skips: dict[JobId, int] = {}
        """How often others took the memory that a job of the window waits for."""
        self._passed_over: dict[Queue, int] = {}
        """Jobs of other queues that were placed since it was a queue's turn."""

    def has_credit(self, credit_s: float) -> bool:
        """Whether any instance has enough of it for a plan. Cost: O(instances)."""
        return bool(self._credit.asking(credit_s).any())

    def plan(self, jobs: Sequence[WaitingJob], *, credit_s: float, now_s: float) -> list[Placed]:
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
        if not self.has_credit(credit_s) or not (has_new or self._credit.is_relieved(credit_s)):
            return []
        placed = list(self._take_what_insists(credit_s=credit_s, now_s=now_s))
        planned = self._place_virtually(credit_s=credit_s, now_s=now_s)
        for row, queues in planned.items():
            placed += self._take(row, queues, credit_s=credit_s, now_s=now_s)
        self._credit.note_plan()
        return placed

    def _enter(self, jobs: Sequence[WaitingJob]) -> bool:
        """Follow the window. Returns: whether a job is new in it."""
        has_new = self._window.follow(jobs)
        self._skips = {job: each for job, each in self._skips.items() if job in self._window}
        self._passed_over = {
            queue: self._passed_over.get(queue, 0) for queue in self._window.queues
        }
        return has_new

    def _place_virtually(self, *, credit_s: float, now_s: float) -> dict[int, _Candidates]:
        """What is planned for each row with credit. Changes: nothing in the end.

        Ends early when all credit is used up and only batch jobs are left: they are taken in
        their order, so later ones do not matter.
        """
        rows: list[int] = self._credit.rows(credit_s).nonzero()[0].tolist()
        planned: dict[int, _Candidates] = {row: defaultdict(list) for row in rows}
        unfilled = set(rows)
        num_ranked = sum(not each.is_batch for each in self._window)
        virtual: list[JobId] = []
        for waiting in self._window.in_turn(self._shares.copy(), self._tokens, most=MAX_PLANNED):
            num_ranked -= not waiting.is_batch
            one = self._plan_one(waiting, now_s)
            row = one.choice.row
            virtual.append(waiting.job.job_id)
            if row in planned:
                planned[row][waiting.queue].append(one)
                if not self._credit.has(row, credit_s):
                    unfilled.discard(row)
                if not (unfilled or num_ranked):
                    break
        for job_id in virtual:
            self._fleet.forget(job_id)
        for candidates in planned.values():
            _put_in_order(candidates)
        return planned

    def _plan_one(self, waiting: Waiting, now_s: float) -> _Planned:
        """Place a job virtually: it counts for those after it."""
        options = waiting.options(self._fleet, now_s)
        choice = self._policy.choose(options)
        waiting.place(options, choice.row)
        return _Planned(waiting, choice, float(options.prefill_s[choice.row]))

    def _take(
        self, row: int, queues: _Candidates, *, credit_s: float, now_s: float
    ) -> Iterator[Placed]:
        """Place for good what is planned for an instance, while it has credit."""
        turns = Turns(self._shares, queues)
        while turns and self._credit.has(row, credit_s):
            queue = turns.queue
            taken = self._next_that_fits(row, queues[queue], now_s)
            if taken is None:
                turns.leave()
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

    def _take_what_insists(self, *, credit_s: float, now_s: float) -> Iterator[Placed]:
        """The first job of each queue that was passed over by one on each instance.

        It goes where it costs least of what has credit. A queue that keeps within its share is
        thus served within the credit of any instance, however well others are held elsewhere; two
        that flood alike are seldom passed over so often, and lose nothing.
        """
        insisting = {
            queue for queue, times in self._passed_over.items() if times >= len(self._fleet.rows)
        }
        for waiting in self._window if insisting else ():
            if waiting.queue not in insisting:
                continue
            insisting.remove(waiting.queue)
            taken = self._settle_anywhere(waiting, credit_s=credit_s, now_s=now_s)
            if taken is not None:
                self._passed_over[waiting.queue] = 0
                self._shares.serve(waiting.queue, self._tokens(taken[1].miss_tokens))
                yield taken

    def _settle_anywhere(self, waiting: Waiting, *, credit_s: float, now_s: float) -> Placed | None:
        choice = self._policy.choose(waiting.options(self._fleet, now_s))
        if choice.cost is None:
            return None
        cost = np.where(self._credit.rows(credit_s), choice.cost, np.inf)
        row = int(cost.argmin())
        if not (np.isfinite(cost[row]) and self._fits(row, waiting)):
            return None
        return self._settle(waiting, replace(choice, row=row), now_s)

    def _next_that_fits(self, row: int, candidates: list[_Planned], now_s: float) -> Placed | None:
        skipped: list[JobId] = []
        while candidates:
            planned = candidates.pop()
            job_id = planned.waiting.job.job_id
            is_overdue = self._skips.get(job_id, 0) >= MAX_SKIPS
            if is_overdue or self._fits(row, planned.waiting):
                for each in skipped:
                    self._skips[each] = self._skips.get(each, 0) + 1
                return self._settle(planned.waiting, planned.choice, now_s)
            skipped.append(job_id)
        return None

    def _fits(self, row: int, waiting: Waiting) -> bool:
        fleet = self._fleet
        if not fleet.outstanding[row]:
            return True
        needed_tokens = fleet.needed_kv_tokens(waiting.match(fleet), waiting.job.spec.prompt_tokens)
        return bool(needed_tokens[row] <= fleet.free_kv_tokens[row])

    def _settle(self, waiting: Waiting, choice: Choice, now_s: float) -> Placed:
        """What others were planned for has not come true: hits are looked up anew."""
        options = waiting.options(self._fleet, now_s)
        assignment = assignment_of(options, choice, policy=self._policy.name)
        placed = waiting.place(options, choice.row)
        self._window.leave(waiting.job.job_id)
        return assignment, placed

    def _tokens(self, prompt_tokens: float) -> float:
        """Work of a job: what it computes, and a mean output."""
        return prompt_tokens + self._fleet.history.mean_output_tokens


def _put_in_order(candidates: _Candidates) -> None:
    for each in candidates.values():
        each.reverse()
        each.sort(key=lambda planned: -planned.rank)  # stable: of equals, the first stays last

"""Plans over arbitrary lives of jobs and instances: what they leave behind, and that they end."""

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_support import BLOCK_TOKENS, ONE_MS_A_TOKEN, WINDOW_S, keys_of, waiting

from preble.config import PolicyName, Priority
from preble.cost_model import load_cost_model
from preble.fleet import Fleet
from preble.history import DEFAULT_OUTPUT_TOKENS
from preble.instance import PlacedRequest
from preble.messages import InstanceId, InstanceRecord, JobId, WaitingJob, unpack_keys
from preble.planning import Planner
from preble.policy import create_policy

INSTANCES: Final = 3
SLOTS: Final = 3
CAPACITY_TOKENS: Final = 300
GROWTH_TOKENS: Final = BLOCK_TOKENS + DEFAULT_OUTPUT_TOKENS
PROMPTS: Final = ("", "a", "aaaa", "aabb", "aabbcc", "d" * 12, "d" * 11 + "e", "f" * 40)
POLICIES: Final[tuple[PolicyName, ...]] = ("preble", "e2", "longest_prefix", "round_robin")
PRIORITIES: Final[tuple[Priority, ...]] = ("high", "normal", "batch")

Event = tuple[str, int]
"""What happens, and to which job or instance, or with which prompt."""

events = st.tuples(
    st.sampled_from(
        ["submit"] * 5 + ["plan"] * 3 + ["end", "end", "cancel", "requeue", "store", "evict"]
        + ["fail", "join", "leave"]
    ),
    st.integers(0, 1_000),
)  # fmt: skip


class Pool:
    """A fleet, its planner, what waits, and what was moved and has not ended."""

    def __init__(self, policy: PolicyName) -> None:
        self.fleet = Fleet(block_size=BLOCK_TOKENS, history_s=WINDOW_S)
        self.planner = Planner(self.fleet, create_policy(policy))
        self.window: list[WaitingJob] = []
        self.planned: list[WaitingJob] = []
        """What waited in the last plan and did not move."""
        self.moved: dict[JobId, tuple[WaitingJob, PlacedRequest]] = {}
        self.serial = 0
        for number in range(INSTANCES):
            self.join(number)

    def happen(self, event: Event) -> None:
        kind, pick = event
        self.serial += 1
        getattr(self, kind)(pick)

    def submit(self, pick: int) -> None:
        prompt = PROMPTS[pick % len(PROMPTS)]
        self.window.append(
            waiting(
                f"job{self.serial}", prompt, extra_tokens=5, tenant=f"t{pick % 2}",
                priority=PRIORITIES[pick % len(PRIORITIES)], waited_s=pick / 100,
            )
        )  # fmt: skip

    def plan(self, pick: int = 0) -> None:
        """With so much credit that there is some now and then; a second plan moves nothing."""
        told, credit_s = list(self.window), 0.05 * (1 + pick % 3)
        for assignment, placed in self.planner.plan(told, credit_s=credit_s, now_s=0.0):
            job = next(each for each in told if each.job_id == assignment.job_id)
            self.window.remove(job)
            self.moved[job.job_id] = job, placed
            self.fleet.remember(placed)
        self.planned = list(self.window)
        assert self.planner.plan(list(self.window), credit_s=credit_s, now_s=0.0) == []

    def end(self, pick: int) -> None:
        if self.moved:
            _, placed = self.moved.pop(self.pick(pick))
            assert self.fleet.forget(placed.job_id) is placed

    def fail(self, pick: int) -> None:
        """A move did not succeed: the job is where it was."""
        if self.moved:
            job, placed = self.moved.pop(self.pick(pick))
            self.fleet.forget(placed.job_id)
            self.window.insert(0, job)

    def requeue(self, pick: int) -> None:
        """A job waits again before anybody told."""
        if self.moved:
            job, placed = self.moved.pop(self.pick(pick))
            self.window.insert(0, job)
            self.plan()
            assert self.fleet.placed(placed.job_id) is not placed

    def cancel(self, pick: int) -> None:
        if self.window:
            del self.window[pick % len(self.window)]

    def store(self, pick: int) -> None:
        if self.moved:
            job, placed = self.moved[self.pick(pick)]
            if keys := unpack_keys(job.block_keys):
                self.fleet.tree.store(keys, placed.instance.account.holder)
                self.fleet.stored(placed.instance, keys)

    def evict(self, pick: int) -> None:
        for instance in self.fleet.rows:
            self.fleet.tree.remove(
                keys_of(PROMPTS[pick % len(PROMPTS)])[::-1], instance.account.holder
            )

    def join(self, pick: int) -> None:
        instance = InstanceId(f"gpu{pick % INSTANCES}")
        record = InstanceRecord(
            instance, f"e{self.serial}", "noop", SLOTS, CAPACITY_TOKENS, ONE_MS_A_TOKEN
        )
        self.fleet.join(record, load_cost_model(ONE_MS_A_TOKEN))

    def leave(self, pick: int) -> None:
        instance = self.fleet.instances.get(InstanceId(f"gpu{pick % INSTANCES}"))
        if instance:
            self.fleet.leave(instance)
            self.moved = {
                job_id: each
                for job_id, each in self.moved.items()
                if each[1].instance is not instance
            }

    def drain(self) -> None:
        """Everything runs; each round moves something, or it would wait for ever."""
        while self.window or self.moved:
            before = len(self.window)
            for _ in range(len(self.moved)):
                self.end(0)
            self.plan()
            assert self.moved or not before

    def pick(self, number: int) -> JobId:
        return list(self.moved)[number % len(self.moved)]

    # What must hold after every event.

    def check(self) -> None:
        self.fleet.tree.check_invariants()
        with_blocks = [each for each in self.planned if each.block_keys]
        assert sum(node.waiting for node in self.fleet.tree.nodes()) == len(with_blocks)
        for row, instance in enumerate(self.fleet.rows):
            there = {id_: each for id_, each in self.moved.items() if each[1].instance is instance}
            assert instance.placed.keys() == there.keys()
            self.check_columns(row, list(there.values()))

    def check_columns(self, row: int, there: Sequence[tuple[WaitingJob, PlacedRequest]]) -> None:
        fleet = self.fleet
        backlog = [placed for _, placed in there if not placed.is_computed]
        assert fleet.outstanding[row] == len(there) <= SLOTS
        assert fleet.context_tokens[row] == sum(job.spec.prompt_tokens for job, _ in there)
        assert fleet.backlog_tokens[row] == sum(each.miss_tokens for each in backlog)
        backlog_s = sum(each.prefill_s for each in backlog)
        assert fleet.backlog_s[row] == pytest.approx(backlog_s, abs=1e-9)
        pinned = {key for job, _ in there for key in unpack_keys(job.block_keys)}
        taken_tokens = len(pinned) * BLOCK_TOKENS + len(there) * GROWTH_TOKENS
        free_tokens = CAPACITY_TOKENS - taken_tokens
        assert fleet.free_kv_tokens[row] == free_tokens
        assert free_tokens >= 0 or len(there) == 1
        step_s = min(len(there) + 1, SLOTS) / 1_000
        assert fleet.decode_step_s(10)[row] == pytest.approx(step_s)


@settings(max_examples=300)
@given(st.sampled_from(POLICIES), st.lists(events, max_size=50))
def test_plans_leave_nothing_but_what_they_moved_and_all_that_waits_is_served(
    policy: PolicyName, told: list[Event]
) -> None:
    pool = Pool(policy)
    for event in told:
        pool.happen(event)
        pool.check()
    pool.join(0)
    pool.drain()
    pool.plan()
    pool.check()
    for instance in pool.fleet.rows:
        pool.fleet.tree.clear(instance.account.holder)
    pool.fleet.history.expire(2 * WINDOW_S)
    assert len(pool.fleet.tree) == 0

"""Fair shares over arbitrary times: what two queues that wait throughout may differ by."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from preble.fair_share import SHARES, FairShare, Queue, Turns

A: Queue = ("normal", "a")
B: Queue = ("normal", "b")
NEW: Queue = ("normal", "new")

ALWAYS: tuple[Queue, ...] = (A, B, ("high", "a"))
"""These wait throughout."""

OTHERS: tuple[Queue, ...] = (("normal", "c"), ("high", "b"), ("batch", "a"), ("batch", "b"))
"""These come and go."""

ROUNDING = 1e-6


@dataclass(frozen=True)
class Plan:
    """Some queues wait, and so many jobs are served; the sizes say how long jobs are."""

    others: frozenset[Queue]
    jobs: tuple[int, ...]


@dataclass(frozen=True)
class Served:
    """A job of a queue, and its tokens."""

    queue: Queue
    tokens: int


plans = st.lists(
    st.builds(
        Plan,
        st.frozensets(st.sampled_from(OTHERS)),
        st.lists(st.integers(1, 1_000), min_size=1, max_size=20).map(tuple),
    ),
    max_size=12,
)


def run(shares: FairShare, told: Sequence[Plan]) -> list[Served]:
    served = list[Served]()
    for plan in told:
        turns = Turns(shares, [*ALWAYS, *plan.others])
        for tokens in plan.jobs:
            served.append(Served(turns.queue, tokens))
            turns.serve(tokens)
    return served


def furthest_apart(
    served: Sequence[Served], one: Hashable, other: Hashable, share: Callable[[Served], float],
    name: Callable[[Queue], Hashable],
) -> tuple[float, float]:  # fmt: skip
    """What two got of their shares, in the interval in which it differs most; and a job of each."""
    got = [(name(each.queue), share(each)) for each in served]
    signs = defaultdict[Hashable, int](int, {one: 1, other: -1})
    lead = [*accumulate((signs[who] * amount for who, amount in got), initial=0.0)]
    longest = (max((amount for who, amount in got if who == each), default=0.0) for each in signs)
    return max(lead) - min(lead), sum(longest)


@given(plans)
def test_tenants_that_wait_throughout_get_alike_but_for_a_job_each(told: list[Plan]) -> None:
    apart, a_job_each = furthest_apart(
        run(FairShare(), told), A, B, lambda each: each.tokens, lambda queue: queue
    )
    assert apart <= a_job_each + ROUNDING


@given(plans)
def test_priorities_that_wait_throughout_get_their_shares_but_for_a_job_each(
    told: list[Plan],
) -> None:
    apart, a_job_each = furthest_apart(
        run(FairShare(), told), "high", "normal", lambda each: each.tokens / SHARES[each.queue[0]],
        lambda queue: queue[0],
    )  # fmt: skip
    assert apart <= a_job_each + ROUNDING


@given(plans, st.integers(1, 1_000))
def test_who_comes_anew_waits_for_at_most_a_job_of_each_other_tenant(
    told: list[Plan], tokens: int
) -> None:
    """Of its priority, whatever happened before."""
    shares = FairShare()
    run(shares, told)
    turns, before = Turns(shares, [*ALWAYS, *OTHERS, NEW]), list[Queue]()
    while turns.queue != NEW:
        before.append(turns.queue)
        turns.serve(tokens)
    of_its_priority = [queue for queue in before if queue[0] == "normal"]
    assert len(of_its_priority) == len(set(of_its_priority))


@given(plans)
def test_the_turn_of_the_queue_whose_turn_it_is_is_the_lowest(told: list[Plan]) -> None:
    shares, queues = FairShare(), [*ALWAYS, *OTHERS]
    run(shares, told)
    assert shares.turn(Turns(shares, queues).queue) == min(map(shares.turn, queues))


@given(plans, plans)
def test_a_copy_goes_on_as_the_other_would_and_changes_nothing_there(
    told: list[Plan], later: list[Plan]
) -> None:
    shares, twin = FairShare(), FairShare()
    run(shares, told)
    run(twin, told)
    expected = run(twin, later)
    assert run(shares.copy(), later) == expected
    assert run(shares, later) == expected

"""Whose turn it is, by example; the promises for all of time stand in tests/property."""

import tracemalloc
from collections import Counter
from collections.abc import Iterable

import pytest

from preble.fair_share import SHARES, FairShare, Queue, Turns

TOKENS = 100.0
"""Of a job, where nothing else is said."""

A: Queue = ("normal", "a")
B: Queue = ("normal", "b")
C: Queue = ("normal", "c")


def serve(shares: FairShare, queues: Iterable[Queue], jobs: int, **tokens: float) -> list[Queue]:
    """Who is served, while all of these wait throughout; the jobs of some tenants are longer."""
    turns, served = Turns(shares, queues), list[Queue]()
    for _ in range(jobs):
        queue = turns.queue
        served.append(queue)
        turns.serve(tokens.get(queue[1], TOKENS))
    return served


def test_priorities_get_sixteen_four_and_one() -> None:
    queues: list[Queue] = [(priority, "t") for priority in SHARES]
    served = Counter(priority for priority, _ in serve(FairShare(), queues, 21 * 100))
    assert served == {"high": 1_600, "normal": 400, "batch": 100}


def test_a_flood_of_urgent_jobs_does_not_starve_the_others() -> None:
    """Batch is served from the first 21 on, not after some long time."""
    queues: list[Queue] = [(priority, "t") for priority in SHARES]
    served = serve(FairShare(), queues, 210)
    assert all(("batch", "t") in served[at : at + 21] for at in range(0, 210, 21))


def test_a_share_that_nobody_asks_for_goes_to_the_others() -> None:
    served = Counter(serve(FairShare(), [A, ("batch", "t")], 500))
    assert served == {A: 400, ("batch", "t"): 100}


def test_tenants_of_one_priority_take_turns() -> None:
    assert serve(FairShare(), [C, A, B], 7) == [A, B, C, A, B, C, A]


def test_tenants_share_their_priority_whatever_the_others_do() -> None:
    """100 tenants in batch get no more than one of it would."""
    queues: list[Queue] = [A, *(("batch", f"t{number}") for number in range(100))]
    assert Counter(serve(FairShare(), queues, 500))[A] == 400


def test_work_is_shared_not_jobs() -> None:
    served = Counter(serve(FairShare(), [A, B], 400, a=300, b=100))
    assert served == {A: 100, B: 300}


def test_who_was_idle_saves_nothing_up() -> None:
    """It gets half of what is served from now on, and one job, for the other was served last."""
    shares = FairShare()
    serve(shares, [A, B], 2)
    serve(shares, [B], 1_000)
    assert Counter(serve(shares, [A, B], 20)) == {A: 11, B: 9}


def test_a_priority_that_was_idle_saves_nothing_up() -> None:
    """A batch job less than the fifth, for one was served last."""
    shares = FairShare()
    serve(shares, [("batch", "t")], 1_000)
    assert Counter(serve(shares, [A, ("batch", "t")], 50))["batch", "t"] == 9


def test_who_asks_for_less_than_its_share_is_served_at_once() -> None:
    """One job in ten: whenever it comes, it is its turn, however much the other waits for."""
    shares = FairShare()
    for _ in range(20):
        assert serve(shares, [A, B], 1) == [A]
        assert serve(shares, [B], 9) == [B] * 9


def test_of_equals_the_more_urgent_one_is_first_then_the_lower_name() -> None:
    queues: list[Queue] = [(priority, tenant) for priority in reversed(SHARES) for tenant in "ba"]
    turns, left = Turns(FairShare(), queues), list[Queue]()
    while turns:
        left.append(turns.queue)
        turns.leave()
    assert left == [(priority, tenant) for priority in SHARES for tenant in "ab"]


def test_the_order_is_the_same_however_the_queues_are_told() -> None:
    queues: list[Queue] = [(priority, tenant) for priority in SHARES for tenant in "abc"]
    served = serve(FairShare(), queues, 200)
    assert serve(FairShare(), reversed(queues), 200) == served


def test_who_leaves_is_served_no_more() -> None:
    queues: list[Queue] = [A, B, ("batch", "t")]
    turns = Turns(FairShare(), queues)
    for left in queues:
        assert turns
        assert turns.queue == left
        turns.leave()
    assert not turns


def test_who_is_served_its_last_job_is_the_only_one_to_go() -> None:
    turns, served = Turns(FairShare(), [A, B, C]), list[Queue]()
    for _ in range(7):
        served.append(turns.queue)
        turns.serve(TOKENS, is_last=served[-1] == B)
    assert served == [A, B, C, A, C, A, C]


def test_a_last_job_counts_for_the_next_time() -> None:
    shares = FairShare()
    Turns(shares, [A]).serve(TOKENS, is_last=True)
    assert Turns(shares, [A, B]).queue == B


def test_those_who_stay_keep_their_order() -> None:
    """Six tenants lie back by their number; each leaves when it is its turn."""
    shares, left = FairShare(), list[str]()
    for number in (1, 5, 2, 6, 7, 3):
        shares.serve(("normal", str(number)), number)
    turns = Turns(shares, [("normal", each) for each in "152673"])
    while turns:
        left.append(turns.queue[1])
        turns.leave()
    assert left == list("123567")


def test_a_copy_is_served_without_the_other_knowing() -> None:
    shares = FairShare()
    serve(shares, [A, B, ("high", "t")], 7)
    before = serve(shares.copy(), [A, B, ("high", "t")], 50)
    serve(shares.copy(), [A], 100)
    serve(shares.copy(), [("high", "t")], 100)
    assert serve(shares, [A, B, ("high", "t")], 50) == before


def test_a_copy_remembers_who_was_served() -> None:
    shares = FairShare()
    shares.serve(A, TOKENS)
    assert Turns(shares.copy(), [A, B]).queue == B


# Memory.


def bytes_of(shares: FairShare) -> int:
    tracemalloc.start()
    twin = shares.copy()
    size_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del twin
    return size_bytes


@pytest.mark.parametrize("jobs_each", [1, 2])
def test_tenants_that_come_no_more_are_forgotten(jobs_each: int) -> None:
    """However far they lie back; 5,000 names would take 100 kB."""
    shares = FairShare()
    for number in range(5_000):
        serve(shares, [("normal", f"{number}")], jobs_each)
    assert bytes_of(shares) < 60_000

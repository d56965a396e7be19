"""In which order waiting jobs start."""

from collections.abc import Mapping

import pytest

from preble.wait_queue import ROUND_ITEMS, WaitOrder, WaitQueue

PROMPT_TOKENS = 100
ORDERS: tuple[WaitOrder, ...] = ("fcfs", "lpm", "priority_groups")


def queue_of(order: WaitOrder, hits: Mapping[str, int]) -> WaitQueue[str]:
    """Items waiting in the order of `hits`, which are looked up anew each time."""
    queue = WaitQueue[str](order, lambda item: hits[item])
    for item in hits:
        queue.push(item, prompt_tokens=PROMPT_TOKENS)
    return queue


def drained(queue: WaitQueue[str]) -> list[str]:
    return [queue.pop() for _ in range(len(queue))]


def test_fcfs_is_the_order_of_arrival_and_never_asks_for_hits() -> None:
    def never(item: str) -> int:
        raise AssertionError(item)

    queue = WaitQueue[str]("fcfs", never)
    for item in "abc":
        queue.push(item, prompt_tokens=PROMPT_TOKENS)
    queue.cache_changed()
    assert drained(queue) == ["a", "b", "c"]


def test_lpm_takes_the_longest_hit_and_among_equals_the_first() -> None:
    queue = queue_of("lpm", {"a": 0, "b": 40, "c": 80, "d": 40})
    assert drained(queue) == ["c", "b", "d", "a"]


def test_a_group_is_the_share_that_is_held_rounded_down() -> None:
    """63 of 100 is group 6, beside 60 and ahead of 59: Preble's example."""
    queue = queue_of("priority_groups", {"59": 59, "63": 63, "60": 60, "69": 69})
    assert drained(queue) == ["63", "60", "69", "59"]


def test_a_round_takes_from_each_group_as_many_as_its_number() -> None:
    """Preble's example: of 55 requests 10 come from group 10, 9 from 9, …, 1 from 1."""
    hits = {f"{group}:{n}": 10 * group for n in range(12) for group in range(11)}
    queue = queue_of("priority_groups", hits)
    one_round = [queue.pop() for _ in range(ROUND_ITEMS)]
    expected = [f"{group}:{n}" for group in range(10, 0, -1) for n in range(group)]
    assert one_round == [*expected, "0:0"]
    assert [queue.pop() for _ in range(3)] == ["10:10", "10:11", "9:9"]


def test_a_group_without_items_is_skipped() -> None:
    queue = queue_of("priority_groups", {"cold": 0, "warm": 20})
    assert drained(queue) == ["warm", "cold"]


def test_groups_are_formed_anew_when_the_cache_changed() -> None:
    hits = {"a": 0, "b": 50, "c": 0}
    queue = queue_of("priority_groups", hits)
    hits["c"] = 40
    assert queue.pop() == "b", "nobody said that the cache changed"
    queue.cache_changed()
    assert drained(queue) == ["c", "a"]


def test_hits_are_asked_for_once_and_again_only_before_a_choice() -> None:
    asked: list[str] = []

    def hit_tokens(item: str) -> int:
        asked.append(item)
        return 0

    queue = WaitQueue[str]("priority_groups", hit_tokens)
    queue.push("a", prompt_tokens=PROMPT_TOKENS)
    queue.push("b", prompt_tokens=PROMPT_TOKENS)
    assert asked == ["a", "b"]
    queue.cache_changed()
    queue.cache_changed()
    queue.push("c", prompt_tokens=PROMPT_TOKENS)
    assert asked == ["a", "b"], "many changes between two choices cost nothing"
    queue.peek()
    assert asked == ["a", "b", "a", "b", "c"]
    queue.pop()
    queue.pop()
    assert len(asked) == 5


@pytest.mark.parametrize("order", ORDERS)
def test_what_was_peeked_at_stays_the_next(order: WaitOrder) -> None:
    """Else a large job that does not fit yet would be overtaken for ever."""
    hits = {"large": 10, "better": 90, "best": 100}
    queue = WaitQueue[str](order, lambda item: hits[item])
    queue.push("large", prompt_tokens=PROMPT_TOKENS)
    assert queue.peek() == "large"
    queue.push("better", prompt_tokens=PROMPT_TOKENS)
    queue.push("best", prompt_tokens=PROMPT_TOKENS)
    queue.cache_changed()
    assert queue.peek() == "large"
    assert queue.pop() == "large"


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_pushed_to_the_front_goes_first(order: WaitOrder) -> None:
    queue = queue_of(order, {"a": 0, "b": 0, "c": 0})
    first, second = queue.pop(), queue.pop()
    queue.push_front(second)
    queue.push_front(first)
    assert drained(queue) == ["a", "b", "c"]


@pytest.mark.parametrize("order", ORDERS)
def test_the_oldest_item_waits_for_one_round_at_most(order: WaitOrder) -> None:
    hits = {"cold": 0} | {f"hot-{n}": 100 for n in range(3 * ROUND_ITEMS)}
    started = drained(queue_of(order, hits))
    assert started.index("cold") <= ROUND_ITEMS


@pytest.mark.parametrize("order", ORDERS)
def test_removed_items_do_not_start(order: WaitOrder) -> None:
    queue = queue_of(order, {"a": 0, "b": 0, "c": 0, "d": 0})
    assert queue.peek() == "a"
    queue.remove("c")
    queue.remove("a")
    queue.cache_changed()
    queue.remove("d")
    assert list(queue) == ["b"]
    assert drained(queue) == ["b"]
    with pytest.raises(ValueError, match="not in"):
        queue.remove("a")


def test_an_empty_queue_has_no_next() -> None:
    queue = WaitQueue[str]("lpm", lambda _: 0)
    assert queue.peek() is None
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.pop()


def test_iteration_shows_what_is_chosen_and_then_the_order_of_arrival() -> None:
    queue = queue_of("lpm", {"a": 0, "b": 90, "c": 50})
    queue.peek()
    assert list(queue) == ["b", "a", "c"]

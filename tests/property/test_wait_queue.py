"""Whatever arrives and whatever the cache does, nothing starves, is lost or is doubled."""

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from preble.wait_queue import ROUND_ITEMS, WaitOrder, WaitQueue

PROMPT_TOKENS = 100
ORDERS: tuple[WaitOrder, ...] = ("fcfs", "lpm", "priority_groups")


class WaitQueueMachine(RuleBasedStateMachine):
    """An adversary sends items, sets their hits, and removes them, while it sees the queue."""

    @initialize(order=st.sampled_from(ORDERS))
    def begin(self, order: WaitOrder) -> None:
        """Any order."""
        self.hits: dict[int, int] = {}
        self.queue = WaitQueue[int](order, lambda item: self.hits[item])
        self.bound: dict[int, int] = {}
        self.passed: dict[int, int] = {}
        self.head: int | None = None

    @rule(hit_tokens=st.integers(0, PROMPT_TOKENS), num=st.integers(1, 3))
    def push(self, hit_tokens: int, num: int) -> None:
        """New items with any hit."""
        for _ in range(num):
            item = len(self.hits)
            self.hits[item] = hit_tokens
            self.bound[item] = (len(self.queue) + 1) * ROUND_ITEMS
            self.passed[item] = 0
            self.queue.push(item, prompt_tokens=PROMPT_TOKENS)

    @rule(hit_tokens=st.lists(st.integers(0, PROMPT_TOKENS), min_size=1, max_size=5))
    def change_cache(self, hit_tokens: list[int]) -> None:
        """The hits of all that wait become others."""
        for item in self.queue:
            self.hits[item] = hit_tokens[item % len(hit_tokens)]
        self.queue.cache_changed()

    @precondition(lambda self: self.passed)
    @rule()
    def peek(self) -> None:
        """The next one shows itself, and stays it."""
        self.head = self.queue.peek()

    @precondition(lambda self: self.passed)
    @rule()
    def pop(self) -> None:
        """One starts: the head, if one was seen."""
        self.start()

    @precondition(lambda self: self.passed)
    @rule(num=st.integers(1, 3 * ROUND_ITEMS))
    def spite_the_oldest(self, num: int) -> None:
        """Before each start a better one arrives, and the oldest loses what it hit."""
        for _ in range(num):
            self.push(PROMPT_TOKENS, 1)
            self.hits[min(self.passed)] = 0
            self.queue.cache_changed()
            self.start()

    @precondition(lambda self: self.passed)
    @rule()
    def pop_and_return(self) -> None:
        """One that cannot stay goes back first."""
        item = self.queue.pop()
        assert self.head in {None, item}
        self.queue.push_front(item)
        self.head = item

    @precondition(lambda self: self.passed)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """Any one goes away."""
        item = data.draw(st.sampled_from(sorted(self.passed)))
        self.queue.remove(item)
        self.forget(item)

    def start(self) -> None:
        """Pop, and count whom that passes over."""
        item = self.queue.pop()
        assert self.head in {None, item}
        self.forget(item)
        for other in self.passed:
            self.passed[other] += other < item

    def forget(self, item: int) -> None:
        """It waits no more."""
        del self.passed[item]
        if self.head == item:
            self.head = None

    @invariant()
    def no_item_starves(self) -> None:
        """Each is passed over as often as stated, at most."""
        if hasattr(self, "passed"):
            assert all(self.passed[item] <= self.bound[item] for item in self.passed)

    @invariant()
    def none_is_lost_or_doubled(self) -> None:
        """What waits is what came and has not gone."""
        if hasattr(self, "passed"):
            assert sorted(self.queue) == sorted(self.passed)
            assert len(self.queue) == len(self.passed)


TestWaitQueue = WaitQueueMachine.TestCase

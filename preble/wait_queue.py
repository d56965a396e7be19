"""The local wait queue: in which order an instance starts the jobs that wait for it. Pure.

Worker and simulator share it, so that a simulation orders as an instance does. Three orders:

- `fcfs`: first come, first served.
- `lpm`: longest hit first, ties by arrival.
- `priority_groups`: by the share of the prompt that is held, in rounds with a limit for each
  group. Source: Preble, Algorithm 3.

      group    10   9   8   7   6   5   4   3   2   1   0      63 of 100 tokens held: group 6
      a round  10 ▶ 9 ▶ 8 ▶ 7 ▶ 6 ▶ 5 ▶ 4 ▶ 3 ▶ 2 ▶ 1 ▶ 1      then the next round

  The paper gives group 0 no share; one a round here. Inside a group, first come first served.
  Groups are formed anew when the KV cache changed; the round goes on where it was.

Nothing starves, whatever arrives and whatever the cache does: after `ROUND_ITEMS` choices that
passed over the item that came first of all, that one is chosen. So an item that finds `k`
others waiting is passed over by at most `(k + 1) * ROUND_ITEMS` later ones. And what was
chosen stays chosen: an item too large to start now blocks the queue until it fits.
"""

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from preble.config import WaitOrder

__all__ = ["GROUPS", "ROUND_ITEMS", "WaitOrder", "WaitQueue"]

GROUPS: Final = 10
"""P of the paper; the group of what is hardly held comes on top, as group 0."""

ROUND_ITEMS: Final = sum(range(1, GROUPS + 1)) + 1
"""Most items of one round over the groups, and most choices that pass over the oldest item."""

T = TypeVar("T", bound=Hashable)


@dataclass(slots=True, eq=False)
class _Entry(Generic[T]):
    item: T
    prompt_tokens: int
    arrival: int
    hit_tokens: int = 0


class WaitQueue(Generic[T]):
    """Items in the order in which they are to start. Deterministic.

    Args:
        order: One of the three above.
        hit_tokens: Prompt tokens of an item that the KV cache holds now. Asked when an item
            comes, and again for all that wait at the first choice after `cache_changed`;
            never for `fcfs`.
    """

    def __init__(self, order: WaitOrder, hit_tokens: Callable[[T], int]) -> None:
        self._hit_tokens = hit_tokens
        self._ranking = self._ranking_of(order)
        self._is_stale = False
        self._chosen: deque[T] = deque()
        self._waiting: OrderedDict[T, _Entry[T]] = OrderedDict()
        self._arrivals = 0
        self._oldest_passed_over = 0

    def __len__(self) -> int:
        """Items that wait."""
        return len(self._chosen) + len(self._waiting)

    def __iter__(self) -> Iterator[T]:
        """What is chosen already, then all others as they came."""
        yield from self._chosen
        yield from self._waiting

    def push(self, item: T, *, prompt_tokens: int) -> None:
        """Let an item wait, which does not wait already.

        Cost: `hit_tokens` of it, and O(log waiting) comparisons.
        """
        entry = _Entry(item, prompt_tokens, self._arrivals)
        self._arrivals += 1
        self._waiting[item] = entry
        if not self._is_stale:
            self._look_up(entry)
            self._ranking.add(entry)

    def push_front(self, item: T) -> None:
        """Let an item wait before all others: one that was popped and could not stay.

        Cost: O(1).
        """
        self._chosen.appendleft(item)

    def peek(self) -> T | None:
        """The next item; it stays the next, whatever comes. None if nothing waits.

        Changes: chooses, if nothing is chosen yet.
        Cost: O(log waiting); once after a change of the cache, `hit_tokens` of all that wait.
        """
        if not self._chosen and self._waiting:
            self._chosen.append(self._choose())
        return self._chosen[0] if self._chosen else None

    def pop(self) -> T:
        """Take the next item. Cost: as `peek`.

        Raises:
            IndexError: If nothing waits.
        """
        self.peek()
        return self._chosen.popleft()

    def remove(self, item: T) -> None:
        """Take an item out, wherever it stands. Cost: O(log waiting).

        Raises:
            ValueError: If it does not wait.
        """
        if item in self._waiting:
            self._drop(self._waiting[item])
        else:
            self._chosen.remove(item)

    def cache_changed(self) -> None:
        """Say that hits may have changed; the next choice asks for them anew. Cost: O(1)."""
        self._is_stale = self._ranking.needs_hits

    def _choose(self) -> T:
        oldest = entry = next(iter(self._waiting.values()))
        if self._oldest_passed_over < ROUND_ITEMS:
            self._refresh()
            entry = self._ranking.choose()
        self._oldest_passed_over = 0 if entry is oldest else self._oldest_passed_over + 1
        self._drop(entry)
        return entry.item

    def _refresh(self) -> None:
        if self._is_stale:
            self._is_stale = False
            for entry in self._waiting.values():
                self._look_up(entry)
            self._ranking.fill(self._waiting.values())

    def _look_up(self, entry: _Entry[T]) -> None:
        if self._ranking.needs_hits:
            entry.hit_tokens = self._hit_tokens(entry.item)

    def _drop(self, entry: _Entry[T]) -> None:
        del self._waiting[entry.item]
        if not self._is_stale:
            self._ranking.discard(entry)

    @staticmethod
    def _ranking_of(order: WaitOrder) -> "_Ranking[T]":
        match order:
            case "fcfs":
                return _Sorted(needs_hits=False)
            case "lpm":
                return _Sorted(needs_hits=True)
            case "priority_groups":
                return _Groups()


class _Ranking(Protocol[T]):
    needs_hits: bool

    def add(self, entry: _Entry[T]) -> None: ...

    def discard(self, entry: _Entry[T]) -> None: ...

    def fill(self, entries: Iterable[_Entry[T]]) -> None:
        """Begin anew with these, which are in the order of arrival."""
        ...

    def choose(self) -> _Entry[T]:
        """The best of those added, of which there is one at least; it is discarded next."""
        ...


class _Sorted(Generic[T]):
    """By hit tokens, which stay 0 unless they are needed, then by arrival."""

    def __init__(self, *, needs_hits: bool) -> None:
        self.needs_hits = needs_hits
        self._entries: list[_Entry[T]] = []

    def add(self, entry: _Entry[T]) -> None:
        insort(self._entries, entry, key=self._key)

    def discard(self, entry: _Entry[T]) -> None:
        del self._entries[bisect_left(self._entries, self._key(entry), key=self._key)]

    def fill(self, entries: Iterable[_Entry[T]]) -> None:
        self._entries = sorted(entries, key=self._key)

    def choose(self) -> _Entry[T]:
        return self._entries[0]

    @staticmethod
    def _key(entry: _Entry[T]) -> tuple[int, int]:
        return -entry.hit_tokens, entry.arrival


class _Groups(Generic[T]):
    """The paper's rounds. `add` in the order of arrival."""

    needs_hits = True

    def __init__(self) -> None:
        self._groups: list[OrderedDict[_Entry[T], None]] = [
            OrderedDict() for _ in range(GROUPS + 1)
        ]
        self._turn = GROUPS
        self._left = _share(GROUPS)

    def add(self, entry: _Entry[T]) -> None:
        self._group_of(entry)[entry] = None

    def discard(self, entry: _Entry[T]) -> None:
        del self._group_of(entry)[entry]

    def fill(self, entries: Iterable[_Entry[T]]) -> None:
        for group in self._groups:
            group.clear()
        for entry in entries:
            self.add(entry)

    def choose(self) -> _Entry[T]:
        while not (self._left and self._groups[self._turn]):
            self._turn = (self._turn - 1) % (GROUPS + 1)
            self._left = _share(self._turn)
        self._left -= 1
        return next(iter(self._groups[self._turn]))

    def _group_of(self, entry: _Entry[T]) -> OrderedDict[_Entry[T], None]:
        share = GROUPS * entry.hit_tokens // max(1, entry.prompt_tokens)
        return self._groups[min(share, GROUPS)]


def _share(group: int) -> int:
    """Most items of a group in one round."""
    return max(1, group)

"""The prefix tree against a naive one, over arbitrary lives of instances and jobs."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from preble.prefix_tree import PrefixTree

SLOTS = 3
PROMPTS = tuple((a, *b) for a in (1, 2) for b in ((), (3,), (3, 4), (3, 4, 5), (3, 6), (7, 8, 9)))


def keys_of(prompt: tuple[int, ...]) -> list[int]:
    """Keys as the real ones are: each names the whole prefix up to its block."""
    return [hash(prompt[: end + 1]) & (2**64 - 1) for end in range(len(prompt))]


class PrefixTreeMachine(RuleBasedStateMachine):
    """Instances store whole prefixes and evict leaves; jobs come and go; both trees agree."""

    @initialize()
    def start(self) -> None:
        self.tree = PrefixTree()
        self.resident: set[tuple[tuple[int, ...], int]] = set()
        self.expected: Counter[tuple[tuple[int, ...], int]] = Counter()
        self.jobs: list[tuple[tuple[int, ...], int]] = []

    @rule(prompt=st.sampled_from(PROMPTS), slot=st.integers(0, SLOTS - 1))
    def store(self, prompt: tuple[int, ...], slot: int) -> None:
        self.tree.store(keys_of(prompt), slot)
        self.resident |= {(prompt[: end + 1], slot) for end in range(len(prompt))}

    @rule(data=st.data())
    def evict_leaf(self, data: st.DataObject) -> None:
        leaves = [
            (prefix, slot)
            for prefix, slot in self.resident
            if not any(o != prefix and o[: len(prefix)] == prefix and s == slot
                       for o, s in self.resident)
        ]  # fmt: skip
        if leaves:
            prefix, slot = data.draw(st.sampled_from(sorted(leaves)))
            self.tree.remove([keys_of(prefix)[-1]], slot)
            self.resident.remove((prefix, slot))

    @rule(prompt=st.sampled_from(PROMPTS), slot=st.integers(0, SLOTS - 1))
    def place(self, prompt: tuple[int, ...], slot: int) -> None:
        self.tree.expect(keys_of(prompt), slot)
        self.jobs.append((prompt, slot))
        self.expected.update((prompt[: end + 1], slot) for end in range(len(prompt)))

    @rule(data=st.data())
    def end_job(self, data: st.DataObject) -> None:
        if self.jobs:
            prompt, slot = self.jobs.pop(data.draw(st.integers(0, len(self.jobs) - 1)))
            self.tree.unexpect(keys_of(prompt), slot)
            self.expected.subtract((prompt[: end + 1], slot) for end in range(len(prompt)))

    @rule(slot=st.integers(0, SLOTS - 1))
    def clear(self, slot: int) -> None:
        self.tree.clear(slot)
        self.resident = {(prefix, s) for prefix, s in self.resident if s != slot}

    @invariant()
    def agrees_with_the_naive_tree(self) -> None:
        self.tree.check_invariants()
        assert len(self.tree) == len({prefix for prefix, _ in self.resident})
        for prompt in PROMPTS:
            match = self.tree.match(keys_of(prompt), (1 << SLOTS) - 1)
            assert match == {slot: self.naive_depth(prompt, slot) for slot in range(SLOTS)}
            for slot in range(SLOTS):
                resident = self.naive_depth(prompt, slot, with_expected=False)
                assert self.tree.resident_depth(keys_of(prompt), slot) == resident

    def naive_depth(self, prompt: tuple[int, ...], slot: int, *, with_expected: bool = True) -> int:
        depth = 0
        for end in range(len(prompt)):
            place = (prompt[: end + 1], slot)
            if place in self.resident or (with_expected and self.expected[place] > 0):
                depth = end + 1
        return depth


PrefixTreeMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestPrefixTree = PrefixTreeMachine.TestCase

"""The prefix tree against a naive one, over arbitrary lives of instances and requests."""

from collections.abc import Sequence
from copy import deepcopy
from typing import ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from naive_prefix_tree import (
    ASKED,
    HOLDERS,
    PROMPTS,
    NaiveTree,
    Prompt,
    Request,
    Waiting,
    deepest,
    key_of,
    keys_of,
    prefixes_of,
)

from preble.prefix_tree import Match, Node, PrefixTree, holders_of

EVERYBODY = (1 << HOLDERS) - 1
STEPS = 10_000
LIVES = 260
STEPS_IN_A_LIFE = 50

UNKNOWN_KEY = 1

holders = st.integers(0, HOLDERS - 1)
prompts = st.sampled_from(PROMPTS)
cuts = st.integers(0, 7)
picks = st.integers(0, 63)


def victims_of(tree: PrefixTree, requests: Sequence[Request], holder: int) -> list[tuple[int, int]]:
    """What the tree says, block by block: its key and the requests through it."""
    return [
        (key, victim.hits)
        for victim in tree.victims(holder, [each.leaf for each in requests])
        for key in reversed(victim.node.keys[: victim.blocks])
    ]


class PrefixTreeMachine(RuleBasedStateMachine):
    """Instances store, evict and clear; requests come, are computed and leave the window."""

    num_steps: ClassVar = 0

    @initialize()
    def begin(self) -> None:
        self.tree = PrefixTree()
        for holder in range(HOLDERS):
            self.tree.add_holder(holder)
        self.naive = NaiveTree()
        self.victims: list[list[tuple[int, int]]] = [[] for _ in range(HOLDERS)]
        self.changes = [self.tree.changes(holder) for holder in range(HOLDERS)]

    @rule(prompt=prompts, holder=holders, cut=cuts)
    def store(self, prompt: Prompt, holder: int, cut: int) -> None:
        """A run that follows a block which may be unknown, or held by others only."""
        start = cut % len(prompt)
        parent = prompt[:start]
        is_known = not parent or parent in self.naive.kept()
        parent_key = key_of(parent) if parent else None
        told = self.tree.store(keys_of(prompt)[start:], holder, parent_key=parent_key)
        assert told == is_known
        if is_known:
            self.naive.held[holder].update(prefixes_of(prompt))

    @rule(prompt=st.sampled_from(ASKED), holder=holders)
    def store_whole(self, prompt: Prompt, holder: int) -> None:
        assert self.tree.store(keys_of(prompt), holder)
        self.naive.held[holder].update(prefixes_of(prompt))

    @precondition(lambda self: self.naive.held[0] or self.naive.held[1])
    @rule(holder=st.integers(0, 1), pick=picks, cut=cuts)
    def evict(self, holder: int, pick: int, cut: int) -> None:
        """Blocks in a row, deepest first, as engines evict; those that follow are lost, too."""
        held = sorted(self.naive.held[holder])
        if held:
            prompt = held[pick % len(held)]
            self.remove(prompt, holder, max(cut, len(prompt) - 3))

    @rule(prompt=prompts, holder=holders, cut=cuts)
    def remove(self, prompt: Prompt, holder: int, cut: int) -> None:
        """The same, whether they are held or not, or only the first of them are."""
        start = cut % len(prompt)
        self.tree.remove([*keys_of(prompt)[:start:-1], keys_of(prompt)[start]], holder)
        self.naive.drop(prompt[: start + 1], holder)

    @rule(prefixes=st.lists(prompts, max_size=5), holder=holders)
    def remove_any(self, prefixes: list[Prompt], holder: int) -> None:
        """In any order, known or not, held or not."""
        self.tree.remove([UNKNOWN_KEY, *map(key_of, prefixes)], holder)
        for prefix in prefixes:
            self.naive.drop(prefix, holder)

    @rule(holder=holders, is_likely=st.integers(0, 3))
    def clear(self, holder: int, is_likely: int) -> None:
        """Not too often, or nothing ever grows."""
        if is_likely == 0:
            self.tree.clear(holder)
            self.naive.held[holder].clear()

    @rule(prompt=st.sampled_from(ASKED), holder=holders, is_computed=st.booleans())
    def place(self, prompt: Prompt, holder: int, *, is_computed: bool) -> None:
        request = Request(prompt, holder, self.leaf_of(prompt))
        self.tree.expect(request.leaf, holder)
        assert self.tree.hit(request.leaf, holder) == len(self.naive.evicted(prompt))
        self.naive.window.append(request)
        self.naive.computing.append(request)
        if is_computed:
            self.compute(-1)

    @precondition(lambda self: self.naive.computing)
    @rule(pick=picks)
    def compute(self, pick: int) -> None:
        request = self.naive.computing.pop(pick % len(self.naive.computing))
        self.tree.unexpect(request.leaf, request.holder)

    @precondition(lambda self: self.naive.window)
    @rule(pick=picks)
    def leave_the_window(self, pick: int) -> None:
        request = self.naive.window.pop(pick % len(self.naive.window))
        self.tree.unhit(request.leaf, request.holder)

    @rule(prompt=st.sampled_from(ASKED), holder=holders)
    def begin_a_job(self, prompt: Prompt, holder: int) -> None:
        request = Request(prompt, holder, self.leaf_of(prompt))
        self.tree.pin(request.leaf, holder)
        self.naive.on_instances.append(request)

    @precondition(lambda self: self.naive.on_instances)
    @rule(pick=picks)
    def end_a_job(self, pick: int) -> None:
        request = self.naive.on_instances.pop(pick % len(self.naive.on_instances))
        self.tree.unpin(request.leaf, request.holder)

    @rule(prompt=st.sampled_from(ASKED))
    def wait(self, prompt: Prompt) -> None:
        waiting = Waiting(prompt, self.leaf_of(prompt))
        self.tree.wait(waiting.leaf)
        self.naive.waiting.append(waiting)

    @precondition(lambda self: self.naive.waiting)
    @rule(pick=picks)
    def wait_no_more(self, pick: int) -> None:
        waiting = self.naive.waiting.pop(pick % len(self.naive.waiting))
        self.tree.unwait(waiting.leaf)

    @rule()
    def lull(self) -> None:
        """All that was asked for is computed and forgotten."""
        while self.naive.waiting:
            self.wait_no_more(0)
        while self.naive.on_instances:
            self.end_a_job(0)
        while self.naive.computing:
            self.compute(0)
        while self.naive.window:
            self.leave_the_window(0)

    @rule(prompt=prompts, mask=st.integers(0, EVERYBODY))
    def ask_some(self, prompt: Prompt, mask: int) -> None:
        self.check_match(self.tree, prompt, mask)

    @invariant()
    def keeps_what_is_wanted_and_no_more(self) -> None:
        PrefixTreeMachine.num_steps += 1
        deepcopy(self.tree).check_invariants()  # looking a key up updates the table
        assert len(self.tree) == len(self.naive.kept())
        keys = [key for node in self.tree.nodes() for key in node.keys]
        assert sorted(keys) == sorted(map(key_of, self.naive.kept()))
        assert self.tree.cached_blocks == len(set[Prompt]().union(*self.naive.held))

    @invariant()
    def knows_who_holds_how_much(self) -> None:
        tree = deepcopy(self.tree)
        for prompt in PROMPTS:
            self.check_match(tree, prompt, EVERYBODY)
        for holder in range(HOLDERS):
            assert self.tree.held_blocks[holder] == len(self.naive.held[holder])
            assert self.tree.hot_blocks[holder] == len(self.naive.hot(holder))
            assert self.tree.pinned_blocks[holder] == len(self.naive.pinned(holder))

    @invariant()
    def finds_what_waits_without_its_keys(self) -> None:
        for each in self.naive.waiting:
            assert each.leaf.keys[-1] == key_of(each.prompt)
            match = self.tree.match_at(each.leaf, EVERYBODY)
            self.check(match, self.tree, each.prompt, EVERYBODY)

    @invariant()
    def evicts_the_least_recently_used_leaf(self) -> None:
        for holder in range(HOLDERS):
            victims = victims_of(self.tree, self.naive.requests(holder), holder)
            naive = [(key_of(prefix), hits) for prefix, hits in self.naive.victims(holder)]
            assert victims == naive
            changes = self.tree.changes(holder)
            assert victims == self.victims[holder] or changes != self.changes[holder]
            self.victims[holder], self.changes[holder] = victims, changes

    def leaf_of(self, prompt: Prompt) -> Node:
        keys = keys_of(prompt)
        leaf = self.tree.insert(keys, self.tree.match(keys, EVERYBODY))
        assert leaf
        return leaf

    def check_match(self, tree: PrefixTree, prompt: Prompt, mask: int) -> None:
        self.check(tree.match(keys_of(prompt), mask), tree, prompt, mask)

    def check(self, match: Match, tree: PrefixTree, prompt: Prompt, mask: int) -> None:
        assert match.depth == deepest(prompt, self.naive.kept())
        depths = [depth for depth, _ in match.held]
        assert depths == sorted(depths, reverse=True)
        told = [(each, depth) for depth, some in match.held for each in holders_of(some)]
        naive = [(each, self.depth(prompt, each)) for each in holders_of(mask)]
        assert sorted(told) == naive
        for holder in range(HOLDERS):
            resident = deepest(prompt, self.naive.held[holder])
            assert tree.resident_depth(match, holder) == resident
        pinned = {each: deepest(prompt, self.naive.pinned(each)) for each in range(HOLDERS)}
        assert tree.pinned_depths(match) == {
            each: blocks for each, blocks in pinned.items() if blocks
        }

    def depth(self, prompt: Prompt, holder: int) -> int:
        return deepest(prompt, self.naive.held[holder] | self.naive.expected(holder))


def test_the_tree_and_the_naive_one_agree_over_ten_thousand_steps() -> None:
    PrefixTreeMachine.num_steps = 0
    run_state_machine_as_test(
        PrefixTreeMachine,
        settings=settings(
            max_examples=LIVES,
            stateful_step_count=STEPS_IN_A_LIFE,
            derandomize=True,
            deadline=None,
        ),
    )
    assert PrefixTreeMachine.num_steps >= STEPS

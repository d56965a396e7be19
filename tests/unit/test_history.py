"""The window H: what counts, and when it stops counting."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preble import history as history_module
from preble.history import DEFAULT_OUTPUT_TOKENS, MIN_OUTPUTS, Account, History, reordered
from preble.prefix_tree import Node, PrefixTree

WINDOW_S = 180.0
KEYS = (1, 2, 3)


def history_of(
    num_accounts: int, *, window_s: float = WINDOW_S
) -> tuple[History, PrefixTree, list[Account]]:
    tree = PrefixTree()
    history = History(window_s, tree)
    accounts = [Account(holder) for holder in range(num_accounts)]
    history.arrange([None] * num_accounts)
    for row, account in enumerate(accounts):
        tree.add_holder(account.holder)
        account.row = row
    return history, tree, accounts


def place(
    history: History, account: Account, *, prefill_s: float = 0.0, token_decode_s: float = 0.0,
    now_s: float = 0.0, leaf: Node | None = None, is_exploit: bool = False,
    block_prefill_s: float = 0.0,
) -> None:  # fmt: skip
    history.place(
        account, leaf, prefill_s=prefill_s, block_prefill_s=block_prefill_s,
        token_decode_s=token_decode_s, is_exploit=is_exploit, now_s=now_s,
    )  # fmt: skip


def leaf_of(tree: PrefixTree, num_blocks: int = 3) -> Node:
    keys = KEYS[:num_blocks]
    leaf = tree.insert(keys, tree.match(keys, 1))
    assert leaf
    return leaf


def test_load_is_prefill_plus_decode_of_the_average_output() -> None:
    """L = (1 + 2) + (0.1 + 0.2) * mean(10, 30) = 3 + 0.3 * 20 = 9."""
    history, _, (account,) = history_of(1)
    place(history, account, prefill_s=1.0, token_decode_s=0.1)
    place(history, account, prefill_s=2.0, token_decode_s=0.2, now_s=1)
    history.observe_output(account, 10, stay_s=1, now_s=2)
    history.observe_output(account, 30, stay_s=1, now_s=3)
    assert history.load_s[0] == pytest.approx(9.0)


def test_before_any_output_the_released_codes_default_stands_in() -> None:
    history, _, (account,) = history_of(1)
    place(history, account, token_decode_s=1.0)
    assert history.load_s[0] == DEFAULT_OUTPUT_TOKENS


def test_an_instances_own_mean_counts_once_enough_outputs_were_observed_there() -> None:
    """Until then that of all instances does: 9 of 10 tokens and one of 110 make 20."""
    history, _, accounts = history_of(2)
    for account in accounts:
        place(history, account, token_decode_s=1.0)
    history.observe_output(accounts[1], 110, stay_s=1, now_s=0)
    for _ in range(MIN_OUTPUTS - 1):
        history.observe_output(accounts[0], 10, stay_s=1, now_s=0)
    assert history.load_s.tolist() == [20.0, 20.0]
    history.observe_output(accounts[0], 10, stay_s=1, now_s=1)
    assert history.load_s.tolist() == pytest.approx([10.0, 210 / 11])
    history.expire(WINDOW_S)
    place(history, accounts[1], token_decode_s=1.0, now_s=WINDOW_S)
    assert history.load_s.tolist() == [0.0, 10.0]


def test_instances_are_told_apart() -> None:
    history, _, accounts = history_of(2)
    place(history, accounts[0], prefill_s=1.0)
    place(history, accounts[1], prefill_s=2.0)
    place(history, accounts[1], prefill_s=4.0, is_exploit=True)
    assert history.load_s.tolist() == [1.0, 6.0]
    assert history.requests.tolist() == [1.0, 2.0]
    assert history.exploits.tolist() == [0.0, 1.0]


def test_requests_and_outputs_leave_the_window() -> None:
    history, _, (account,) = history_of(1)
    place(history, account, prefill_s=1.0, token_decode_s=0.1, now_s=0)
    history.observe_output(account, 10, stay_s=1, now_s=0)
    place(history, account, prefill_s=2.0, token_decode_s=0.2, now_s=100)
    history.expire(179.9)
    assert history.load_s[0] == pytest.approx(1.0 + 2.0 + 0.3 * 10)
    history.expire(180)
    assert history.load_s[0] == pytest.approx(2.0 + 0.2 * DEFAULT_OUTPUT_TOKENS)
    assert len(history) == 1


def test_no_rounding_error_outlives_a_lull() -> None:
    history, _, (account,) = history_of(1, window_s=1)
    for step in range(1_000):
        place(history, account, prefill_s=0.1, token_decode_s=0.7, now_s=step / 1_000)
    history.expire(10)
    assert history.load_s[0] == 0.0


def test_the_share_of_prefills_is_of_all_instances_time_since_the_oldest_request() -> None:
    """3 s, then 9 s, of 2 * 30."""
    history, _, accounts = history_of(2)
    place(history, accounts[0], prefill_s=3.0, now_s=100)
    assert history.prefill_share(130) == pytest.approx(3 / 60)
    place(history, accounts[1], prefill_s=6.0, token_decode_s=1.0, now_s=120)
    assert history.prefill_share(130) == pytest.approx(9 / 60)


def test_before_any_request_no_time_went_to_prefills() -> None:
    assert history_of(0)[0].prefill_share(7) == 0
    assert history_of(2)[0].prefill_share(0) == 0


@pytest.mark.parametrize("age_s", [0, 1, 10])
def test_the_share_of_prefills_is_of_10_s_at_least(age_s: float) -> None:
    """And above 1 where more was placed than can be done."""
    history, _, (account,) = history_of(1)
    place(history, account, prefill_s=20, now_s=5)
    assert history.prefill_share(5 + age_s) == 2
    assert history.prefill_share(5 + 40) == 0.5


def test_prefills_leave_the_window_with_their_requests() -> None:
    """What is left is of the time since it was placed."""
    history, _, (account,) = history_of(1)
    place(history, account, prefill_s=7.0, now_s=0)
    place(history, account, prefill_s=3.0, now_s=150)
    history.expire(179.9)
    assert history.prefill_share(180) == pytest.approx(10 / 180)
    history.expire(180)
    assert history.prefill_share(180) == pytest.approx(3 / 30)
    history.expire_oldest()
    assert history.prefill_share(180) == 0


def test_prefills_of_an_instance_that_is_forgotten_do_not_count() -> None:
    history, _, accounts = history_of(2)
    place(history, accounts[0], prefill_s=8.0, now_s=0)
    place(history, accounts[1], prefill_s=4.0, now_s=10)
    history.forget(accounts[0])
    history.arrange([1])
    accounts[1].row = 0
    assert history.prefill_share(30) == pytest.approx(4 / 20)


def test_what_was_known_and_is_held_nowhere_is_computed_again() -> None:
    """Two of three blocks, of 1 s each, then none that was asked for before; of 3 + 3 + 2 s."""
    history, tree, (account,) = history_of(1)
    whole = leaf_of(tree)
    place(history, account, leaf=whole, prefill_s=3.0, block_prefill_s=1.0)
    assert history.recompute_share == 0
    tree.store(KEYS[:1], account.holder)
    place(history, account, leaf=whole, prefill_s=3.0, block_prefill_s=1.0, now_s=1)
    assert history.recompute_share == pytest.approx(2 / 6)
    place(history, account, prefill_s=2.0, now_s=2)
    assert history.recompute_share == pytest.approx(2 / 8)


def test_no_more_is_computed_again_than_is_computed() -> None:
    """The last token of a prompt, of which an engine computes one at least."""
    history, tree, (account,) = history_of(1)
    for _ in range(2):
        place(history, account, leaf=leaf_of(tree), prefill_s=0.1, block_prefill_s=1.0)
    assert history.recompute_share == pytest.approx(0.1 / 0.2)


def test_what_was_computed_again_leaves_the_window() -> None:
    history, tree, accounts = history_of(2)
    for now_s, account in ((0, accounts[0]), (90, accounts[0]), (90, accounts[1])):
        place(history, account, leaf=leaf_of(tree), prefill_s=3.0, block_prefill_s=1.0, now_s=now_s)
    history.forget(accounts[1])
    assert history.recompute_share == pytest.approx(3 / 6)
    history.expire(180)
    assert history.recompute_share == 1
    history.expire(270)
    assert history.recompute_share == 0


def test_a_request_of_the_window_keeps_its_blocks_known() -> None:
    history, tree, (account,) = history_of(1)
    place(history, account, leaf=leaf_of(tree), now_s=0)
    place(history, account, leaf=leaf_of(tree, 2), now_s=100)
    assert (len(tree), len(account.leaves)) == (3, 2)
    history.expire(180)
    assert (len(tree), len(account.leaves)) == (2, 1)
    history.expire(280)
    assert len(tree) == 0


def test_the_window_can_be_cut_short() -> None:
    history, tree, accounts = history_of(2)
    place(history, accounts[0], leaf=leaf_of(tree), prefill_s=1.0)
    place(history, accounts[1], prefill_s=2.0)
    history.expire_oldest()
    assert history.load_s.tolist() == [0.0, 2.0]
    assert len(tree) == 0
    history.expire_oldest()
    with pytest.raises(IndexError):
        history.expire_oldest()


def test_what_is_forgotten_of_one_account_stays_of_the_others() -> None:
    history, tree, accounts = history_of(2)
    for account in accounts:
        place(history, account, leaf=leaf_of(tree), prefill_s=1.0, is_exploit=True)
        history.observe_output(account, 10, stay_s=1, now_s=0)
    history.forget(accounts[0])
    assert history.load_s.tolist() == [0.0, 1.0]
    assert history.exploits.tolist() == [0.0, 1.0]
    assert len(history) == 1
    history.expire(180)
    assert history.requests.tolist() == [0.0, 0.0]
    assert len(tree) == 0


def test_columns_follow_their_accounts_to_other_rows() -> None:
    history, _, accounts = history_of(2)
    place(history, accounts[0], prefill_s=1.0)
    place(history, accounts[1], prefill_s=2.0)
    history.arrange([1, None, 0])
    accounts[0].row, accounts[1].row = 2, 0
    assert history.load_s.tolist() == [2.0, 0.0, 1.0]
    history.expire_oldest()
    assert history.load_s.tolist() == [2.0, 0.0, 0.0]


def test_reordered_rows_are_copies() -> None:
    table = np.array([[1.0, 2.0]])
    new = reordered(table, [1, None, 0])
    assert new.tolist() == [[2.0, 0.0, 1.0]]
    new[:] = 7.0
    assert table.tolist() == [[1.0, 2.0]]


# Running sums, against sums.

Event = tuple[str, int, int, int, int, bool]
"""What, whose, how many seconds later, and numbers to do it with."""

FEW_OUTPUTS = 3
"""Stands in for `MIN_OUTPUTS`, to be reached and lost again often."""


def events(*kinds: str) -> st.SearchStrategy[list[Event]]:
    event = st.tuples(
        st.sampled_from(kinds), st.integers(0, 2), st.integers(0, 30), st.integers(1, 9),
        st.integers(0, 9), st.booleans(),
    )  # fmt: skip
    return st.lists(event, max_size=60)


@dataclass
class Naive:
    """All that is in the window, summed up anew each time."""

    placed: list[tuple[int, float, int, int, bool]]
    outputs: list[tuple[int, float, int]]

    def forget(self, account: int) -> None:
        self.placed = [each for each in self.placed if each[0] != account]
        self.outputs = [each for each in self.outputs if each[0] != account]

    def expire(self, now_s: float) -> None:
        self.placed = [each for each in self.placed if each[1] > now_s - WINDOW_S]
        self.outputs = [each for each in self.outputs if each[1] > now_s - WINDOW_S]

    def prefill_share(self, now_s: float) -> float:
        span_s = max([now_s - each[1] for each in self.placed] + [10])
        return sum(each[2] for each in self.placed) / (3 * span_s)

    def sums(self, account: int) -> tuple[float, float, float]:
        placed = [each for each in self.placed if each[0] == account]
        own = [each[2] for each in self.outputs if each[0] == account]
        tokens = own if len(own) >= FEW_OUTPUTS else [each[2] for each in self.outputs]
        average = sum(tokens) / len(tokens) if tokens else DEFAULT_OUTPUT_TOKENS
        load_s = sum(each[2] + each[3] * average for each in placed)
        return load_s, len(placed), sum(each[4] for each in placed)


def follow(event: Event, history: History, account: Account, naive: Naive, now_s: float) -> None:
    """The same in both."""
    kind, number, _, amount, token_decode_s, is_exploit = event
    if kind == "place":
        naive.placed.append((number, now_s, amount, token_decode_s, is_exploit))
        place(
            history, account, prefill_s=amount, token_decode_s=token_decode_s,
            is_exploit=is_exploit, now_s=now_s,
        )  # fmt: skip
    elif kind == "output":
        naive.outputs.append((number, now_s, amount))
        history.observe_output(account, amount, stay_s=1, now_s=now_s)
    elif kind == "forget":
        naive.forget(number)
        history.forget(account)
    elif naive.placed:
        naive.placed.pop(0)
        history.expire_oldest()


@given(events("place", "output", "output", "cut"))
def test_running_sums_are_the_sums(told: list[Event]) -> None:
    check_sums(told)


@given(events("place", "output", "output", "cut", "forget"))
def test_running_sums_are_the_sums_though_instances_go(told: list[Event]) -> None:
    check_sums(told)


def check_sums(told: list[Event]) -> None:
    history, _, accounts = history_of(3)
    naive, now_s = Naive([], []), 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_module, "MIN_OUTPUTS", FEW_OUTPUTS)
        for event in told:
            now_s += event[2]
            naive.expire(now_s)
            history.expire(now_s)
            follow(event, history, accounts[event[1]], naive, now_s)
            sums = zip(history.load_s, history.requests, history.exploits, strict=True)
            assert list(sums) == [pytest.approx(naive.sums(number)) for number in range(3)]
            assert history.prefill_share(now_s) == pytest.approx(naive.prefill_share(now_s))

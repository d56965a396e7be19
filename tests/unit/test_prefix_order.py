"""Batches sorted by prefix: prompts that share one stand together, by keys or by what begins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preble.client import in_prefix_order
from preble.messages import BlockKeys, pack_keys
from preble.prefix_order import by_prefix

PATHS = st.lists(st.lists(st.integers(1, 3), max_size=4), max_size=12)
"""Prompts by the choices they take in a tree."""


def keys_of(path: list[int]) -> BlockKeys:
    """A key names the whole prefix up to it, as real ones do; larger for smaller choices."""
    prefixes = (path[:end] for end in range(1, len(path) + 1))
    return pack_keys(10**6 - int("".join(map(str, prefix))) for prefix in prefixes)


def ordered(paths: list[list[int]]) -> list[list[int]]:
    return [paths[at] for at in by_prefix([keys_of(path) for path in paths])]


def test_prompts_that_share_a_prefix_come_together_the_shorter_first() -> None:
    paths = [[1, 2, 3], [7], [1], [7, 1], [1, 2], [1, 3]]
    assert ordered(paths) == [[1], [1, 2], [1, 2, 3], [1, 3], [7], [7, 1]]


def test_what_shares_nothing_and_what_is_equal_keep_their_order() -> None:
    empty = BlockKeys(b"")
    assert by_prefix([keys_of([path]) for path in (3, 1, 2)]) == [0, 1, 2]
    assert by_prefix([keys_of([1]), empty, keys_of([2]), keys_of([1]), empty]) == [1, 4, 0, 3, 2]
    assert by_prefix([]) == []


@given(PATHS)
def test_every_prefix_is_one_stretch_that_begins_with_its_own_prompts(
    paths: list[list[int]],
) -> None:
    result = ordered(paths)
    assert sorted(result) == sorted(paths)
    for path in paths:
        for end in range(len(path) + 1):
            places = [at for at, each in enumerate(result) if each[:end] == path[:end]]
            assert places == list(range(places[0], places[0] + len(places)))
            lengths = [len(result[at]) for at in places if len(result[at]) <= end]
            assert lengths == [len(result[at]) for at in places][: len(lengths)]


@given(PATHS, st.integers(1, 5))
def test_what_is_ordered_stays_so_also_in_parts(paths: list[list[int]], part: int) -> None:
    """A client orders the whole, the api each call of it: the whole must stay in order."""
    result = ordered(paths)
    parts = [result[at : at + part] for at in range(0, len(result), part)]
    assert [path for each in parts for path in ordered(each)] == result


@given(PATHS)
def test_clients_order_by_token_ids(paths: list[list[int]]) -> None:
    order = in_prefix_order([{"input_ids": path} for path in paths])
    result = [paths[at] for at in order]
    assert ordered(result) == result


def test_clients_order_texts_and_chats_by_how_they_begin() -> None:
    def chat(*texts: str) -> dict[str, object]:
        return {"messages": [{"role": "user", "content": text} for text in texts]}

    jobs: list[dict[str, object]] = [
        {"prompt": "The sea is"}, chat("Hello", "you"), {"prompt": "A ship"}, {"input_ids": [4]},
        {"prompt": "The sea"}, chat("Bye"), chat("Hello"), {"prompt": "The sea is"},
    ]  # fmt: skip
    assert in_prefix_order(jobs) == [3, 5, 6, 1, 2, 4, 0, 7]


@pytest.mark.parametrize("ids", [[-1], [2**40], ["a"], "text", {"a": 1}])
def test_what_the_api_will_refuse_has_a_place_too(ids: object) -> None:
    jobs: list[dict[str, object]] = [{"input_ids": [3]}, {"input_ids": ids}, {}]
    assert in_prefix_order(jobs) == [2, 1, 0]

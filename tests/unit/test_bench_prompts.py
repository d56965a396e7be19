"""Prompts made for workloads share what their block keys share, and nothing else."""

from preble.bench.prompts import longest, prompt_ids, random_ids, repeated
from preble.messages import pack_keys, unpack_keys
from preble.simulator.workload import TimedRequest, Workload


def request(*keys: int, rest: int = 10, group: str = "") -> TimedRequest:
    return TimedRequest(0.0, 64 * len(keys) + rest, 4, pack_keys(keys), group)


def test_prompts_share_the_blocks_that_the_trace_shares_and_nothing_else() -> None:
    first = prompt_ids(request(1, 2), 0, 64)
    second = prompt_ids(request(1, 3), 1, 64)
    assert len(first) == 138
    assert first[:64] == second[:64]
    assert first[64:128] != second[64:128]
    assert first[128:] != second[128:]
    assert first == prompt_ids(request(1, 2), 0, 64)


def test_ids_are_many_different_words_of_any_vocabulary() -> None:
    ids = random_ids(7, 10_000)
    assert 1_000 <= min(ids) < 1_100
    assert 14_900 < max(ids) < 15_000
    assert len(set(ids)) > 6_000
    assert random_ids(-8, 100) != random_ids(8, 100)


def test_documents_are_asked_anew_until_there_are_enough_questions() -> None:
    workload = Workload("w", 64, (request(1, 2, 3, group="a"), request(7, rest=1)))
    again = repeated(workload, 5).requests
    assert again[:2] == workload.requests
    assert [each.group for each in again] == ["a", "", "a", "", "a"]
    assert [len(unpack_keys(each.block_keys)) for each in again] == [3, 1, 3, 1, 3]
    asked = [unpack_keys(again[number].block_keys) for number in (0, 2, 4)]
    assert [keys[:2] for keys in asked] == [[1, 2]] * 3
    assert len({keys[2] for keys in asked}) == 3


def test_fewer_than_there_are_is_a_head() -> None:
    workload = Workload("w", 64, (request(1), request(2)))
    assert repeated(workload, 1).requests == workload.requests[:1]


def test_the_longest_request_counts_with_its_output() -> None:
    assert longest(Workload("w", 64, (request(1), request(1, 2)))) == 138 + 4

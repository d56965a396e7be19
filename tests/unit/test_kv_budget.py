"""KV memory that running jobs need, what they share counted once."""

from hypothesis import given
from hypothesis import strategies as st

from preble_workers.hit_predictor import PromptPages
from preble_workers.kv_budget import KvBudget

PAGE = 16


def pages(*keys: int) -> PromptPages:
    return PromptPages(keys, len(keys))


def test_a_shared_prefix_is_needed_once() -> None:
    budget = KvBudget(1_000, PAGE)
    budget.begin(pages(1, 2), 50)
    assert budget.free_tokens == 950
    assert budget.needed_tokens(pages(1, 2, 3), 60) == 60 - 2 * PAGE
    budget.begin(pages(1, 2, 3), 60)
    assert budget.free_tokens == 950 - 28


def test_it_is_needed_until_the_last_that_shares_it_ends() -> None:
    budget = KvBudget(1_000, PAGE)
    budget.begin(pages(1, 2), 50)
    budget.begin(pages(1, 2, 3), 60)
    budget.end(pages(1, 2), 50)
    assert budget.free_tokens == 1_000 - 60


@given(st.lists(st.lists(st.integers(0, 1), max_size=5), max_size=12), st.data())
def test_need_is_distinct_pages_and_rests_whatever_the_order_of_ends(
    paths: list[list[int]], data: st.DataObject
) -> None:
    """A key names a whole prefix, so prompts share exactly what their paths share."""
    prompts = [pages(*(hash(tuple(path[: end + 1])) for end in range(len(path)))) for path in paths]
    budget = KvBudget(10_000, PAGE)
    for prompt in prompts:
        budget.begin(prompt, len(prompt.keys) * PAGE + 5)
    running = data.draw(st.permutations(prompts))
    while running:
        distinct = {key for prompt in running for key in prompt.keys}
        assert budget.free_tokens == 10_000 - len(distinct) * PAGE - 5 * len(running)
        ended = running.pop()
        budget.end(ended, len(ended.keys) * PAGE + 5)
    assert budget.free_tokens == 10_000

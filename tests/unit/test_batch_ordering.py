"""The order of a batch's lines: what begins alike stands together, however much it shares."""

import random
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preble_api.batches.ordering import SHORTEST_BYTES, prefix_key, prefix_order
from preble_api.schemas import ChatMessage, JobRequest


def in_order(jobs: list[JobRequest]) -> list[JobRequest]:
    return [jobs[at] for at in prefix_order([prefix_key(job) for job in jobs])]


def test_prompts_of_one_system_prompt_stand_together_within_their_family() -> None:
    systems = [f"Family {n % 3}. " * 40 + f"System {n}. " * 400 for n in range(9)]
    jobs = [JobRequest(prompt=f"{system}Question {q}") for system in systems for q in range(20)]
    random.Random(1).shuffle(jobs)  # noqa: S311  the same every time
    prompts = [str(job.prompt) for job in in_order(jobs)]
    families = [name for name, _ in groupby(prompts, key=lambda prompt: prompt[:9])]
    groups = [name for name, _ in groupby(prompts, key=lambda prompt: prompt[400:4_000])]
    assert len(families) == len(set(families)) == 3
    assert len(groups) == len(set(groups)) == 9


def test_a_prompt_comes_before_those_that_extend_it() -> None:
    beginning = "x" * SHORTEST_BYTES * 4
    jobs = [JobRequest(prompt=beginning[1:] + end) for end in ("", "y" * 500, "z" * 5_000)]
    assert [len(str(job.prompt)) for job in in_order(jobs)] == sorted(
        len(str(job.prompt)) for job in jobs
    )


@pytest.mark.parametrize(
    "jobs",
    [
        [JobRequest(messages=[ChatMessage("system", f"{n % 2}" * 500)]) for n in range(8)],
        [JobRequest(input_ids=[n % 2] * 500 + [n]) for n in range(8)],
    ],
    ids=["chats", "ids"],
)
def test_chats_and_ids_are_ordered_as_texts_are(jobs: list[JobRequest]) -> None:
    beginnings = [str(job.messages or (job.input_ids or [])[:500]) for job in in_order(jobs)]
    assert len(list(groupby(beginnings))) == 2


def test_ids_that_no_model_has_are_ordered_too() -> None:
    assert len(in_order([JobRequest(input_ids=[-1]), JobRequest(input_ids=[1 << 40])])) == 2


@given(st.lists(st.binary(max_size=3).map(lambda text: "a" * 200 + text.hex()), max_size=20))
def test_each_line_has_one_place(prompts: list[str]) -> None:
    order = prefix_order([prefix_key(JobRequest(prompt=prompt)) for prompt in prompts])
    assert sorted(order) == list(range(len(prompts)))

"""What `preble bench hits` sends and counts; the stack it runs on has tests of its own."""

from collections import Counter

import pytest
from msgspec import convert

from preble.bench.hits import HitsFailed, Workload, figures_of, prompts_of
from preble.client import Failure, HitPrediction, Job, Result, Usage
from preble.config import Settings
from preble.messages import JobState

WORKLOAD = Workload(jobs=24, groups=4, prefix_tokens=32, unique_tokens=8)


def ended(resident: int, expected: int, delivered: int) -> Job:
    prediction = HitPrediction(resident, expected)
    result = Result("", "length", Usage(40, 4, delivered), 0.1, 0.2, (), prediction)
    return Job("j", JobState.COMPLETED, 0.0, prompt_tokens=40, result=result)


def test_prompts_of_a_group_share_their_prefix_and_nothing_else() -> None:
    prompts = [convert(each["input_ids"], tuple[int, ...]) for each in prompts_of(WORKLOAD)]
    assert Counter(prompt[:32] for prompt in prompts).most_common(1)[0][1] == 6
    assert len({prompt[32:] for prompt in prompts}) == 24
    assert prompts_of(WORKLOAD) == prompts_of(WORKLOAD)


def test_shares_tell_resident_and_expected_hits_apart() -> None:
    jobs = [ended(0, 0, 0), ended(32, 0, 32), ended(32, 0, 0), ended(0, 16, 16)]
    figures = figures_of(Settings(engine="emulated"), WORKLOAD, jobs, 1.0)
    assert (figures.share_predicted, figures.share_exact) == (0.75, 0.75)
    assert (figures.share_exact_resident, figures.share_exact_expected) == (0.5, 1.0)
    assert (figures.resident_tokens, figures.expected_tokens) == (64, 16)
    assert figures.inexact == [(32, 0, 0)]


def test_a_failed_job_is_no_figure() -> None:
    failed = Job("j7", JobState.FAILED, 0.0, error=Failure("engine_refused", "too long"))
    with pytest.raises(HitsFailed, match="j7 did not complete: engine_refused: too long"):
        figures_of(Settings(engine="emulated"), WORKLOAD, [failed], 1.0)

"""Least outstanding: the fewest jobs, whatever is cached; ties to the lower id."""

from support import record

from preble.cost_model import load_cost_model
from preble.instance import Instance
from preble.messages import JobId
from preble.policy import create_policy
from preble.policy.choice import Option


def option(name: str, jobs: int, *, hit_tokens: int = 0, load_s: float = 0.0) -> Option:
    instance = Instance(record(name), 0, load_cost_model("mistral_7b_a6000"), history_s=180)
    instance.placed = {JobId(f"job{number}"): [] for number in range(jobs)}
    return Option(instance, hit_tokens=hit_tokens, load_s=load_s, prefill_s=0.1)


def chosen(*options: Option) -> str:
    return (
        create_policy("least_outstanding")
        .choose(options, prompt_tokens=100)
        .option.instance.record.instance_id
    )


def test_fewest_jobs_win_whatever_is_cached_or_loaded() -> None:
    assert chosen(option("gpu0", 3, hit_tokens=100), option("gpu1", 2, load_s=9.0)) == "gpu1"


def test_ties_go_to_the_lower_id_every_time() -> None:
    options = [option("gpu0", 2), option("gpu1", 1), option("gpu2", 1)]
    assert [chosen(*options) for _ in range(3)] == ["gpu1"] * 3


def test_a_burst_is_spread_evenly() -> None:
    options = [option(f"gpu{number}", 0) for number in range(3)]
    policy = create_policy("least_outstanding")
    for number in range(7):
        choice = policy.choose(options, prompt_tokens=100)
        choice.option.instance.placed[JobId(f"new{number}")] = []
    assert [each.instance.outstanding for each in options] == [3, 2, 2]
    assert policy.choose(options, prompt_tokens=100).reason == "fewest_jobs"

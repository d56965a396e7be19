"""Short words for plans: what moves where, and how often a policy was asked.

A prompt stands for a job of that name, as in `scheduler_support`.
"""

from typing import Final

from scheduler_support import Stage, waiting

from preble.messages import Assignment, InstanceId, WaitingJob
from preble.policy import Choice, Options, create_policy
from preble.policy.choice import Rule

CREDIT_S: Final = 0.05


class Counting(Rule):
    """`least_outstanding`, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        rule = create_policy("least_outstanding")

        def choose(options: Options) -> Choice:
            self.asked += 1
            return rule.choose(options)

        super().__init__("counting", choose)


def decide(
    stage: Stage, *jobs: str | WaitingJob, credit_s: float = CREDIT_S, now_s: float = 0.0
) -> list[Assignment]:
    """One plan; a prompt stands for a job of that name."""
    window = [waiting(each, each) if isinstance(each, str) else each for each in jobs]
    return stage.scheduler.plan(window, credit_s=credit_s, now_s=now_s)


def plan(
    stage: Stage, *jobs: str | WaitingJob, credit_s: float = CREDIT_S
) -> list[tuple[str, InstanceId]]:
    """The jobs that moved, and where to."""
    moved = decide(stage, *jobs, credit_s=credit_s)
    return [(each.job_id, each.instance_id) for each in moved]


def batch(name: str, prompt: str, waited_s: float = 0.0) -> WaitingJob:
    """A batch job."""
    return waiting(name, prompt, priority="batch", waited_s=waited_s)


def names(moved: list[tuple[str, InstanceId]]) -> list[str]:
    """The jobs alone."""
    return [job for job, _ in moved]

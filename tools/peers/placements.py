"""Another router's decisions as a policy: what they come to on our engines."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from preble.policy.choice import Choice, Options, Rule

_INSTANCES: Final[ContextVar[Sequence[int]]] = ContextVar("instances")


@contextmanager
def placed_as(instances: Sequence[int]) -> Generator[str]:
    """The import path of a policy that places a workload's requests so, while this is open."""
    token = _INSTANCES.set(instances)
    try:
        yield f"{__name__}:given"
    finally:
        _INSTANCES.reset(token)


def given() -> Rule:
    """The policy: the simulator's job ids are places in the workload."""
    instances = _INSTANCES.get()

    def choose(options: Options) -> Choice:
        return Choice(instances[int(options.job_id)], "given")

    return Rule("given", choose)

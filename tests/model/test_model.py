"""Every state of every setup keeps every rule; every mistake made on purpose breaks its own."""

import pytest
from model.explorer import Broken, explore
from model.mutants import MUTANTS, Mutant
from model.rules import Rules
from model.scripts import Queue
from model.setups import FAILOVER, NEVER_ALONE, SETUPS
from model.state import ENDED, Redis
from model.steps import Setup


@pytest.mark.parametrize(("setup", "rules"), SETUPS, ids=[setup.name for setup, _ in SETUPS])
def test_every_state_keeps_every_rule(setup: Setup, rules: Rules) -> None:
    found = explore(setup, Queue(rules))
    assert len(found.states) > 1_000  # a setup in which little happens would prove little


@pytest.mark.parametrize("mutant", MUTANTS, ids=[each.queue.__name__ for each in MUTANTS])
def test_every_mistake_is_found(mutant: Mutant) -> None:
    with pytest.raises(Broken) as broken:
        explore(mutant.setup, mutant.queue(mutant.rules))
    assert broken.value.rule == mutant.rule


def test_a_failover_may_lose_an_accepted_job_and_an_end() -> None:
    """What is lost with the last writes; the rules that remain are those of the test above."""
    states = explore(FAILOVER, Queue(NEVER_ALONE)).states
    pairs = [(state.redis, then) for state in states for then in state.past]
    assert any(_knows(now) and not _knows(then) for now, then in pairs)
    assert any(_has_ended(now) and not _has_ended(then) for now, then in pairs)


def _knows(redis: Redis) -> bool:
    return redis.jobs[0] is not None


def _has_ended(redis: Redis) -> bool:
    return bool(redis.jobs[0] and redis.jobs[0].state in ENDED)

"""Random walks of the model, taken by the Lua too: after each step both stand in the same state.

`tests/property/test_queue_scripts.py` compares what the brokers answer; this compares what is in
Redis with the state whose properties the explorer proves.
"""

from itertools import count
from random import Random

import pytest
from model.real import RealPool
from model.rules import Rules
from model.scripts import Queue
from model.state import CANCELLED, COMPLETED, FAILED, State
from model.steps import Setup, Step
from model.world import World

pytestmark = pytest.mark.anyio

SETUP = Setup(
    "walk", innocent=4, instances=2, lives=2, schedulers=2, admits=True, cancels=True,
    takes_out=True, repeats_late=True,
)  # fmt: skip
WALKS = 20
STEPS = 160
WEIGHTS = {"release": 10, "route": 8, "claim": 8, "admit": 4, "reap": 4, "resign": 0.1,
           "cancel": 0.1, "dies": 1.5, "out": 1.5, "drains": 0.3, "done": 0.7,
           "drain": 0.05, "resume": 1}  # fmt: skip
"""What gets jobs far, more often than what gets in their way; 1 for all else."""
OFTEN_LATE = 0.1


class Walk(World):
    """The model with names that never come twice, as in reality."""

    def __init__(self, random: Random) -> None:
        super().__init__(SETUP, Queue(Rules()))
        self._names = count(1)
        self._random = random

    def fresh(self) -> int:
        return next(self._names)

    def next_step(self, state: State) -> Step:
        """One of a script that was chosen first, so that rare scripts have their turn."""
        steps = [step for step in self.steps(state) if "sees nothing" not in step.label]
        if heard := [step for step in steps if step.label.endswith("hears")]:
            return heard[0]
        kinds = sorted({_what(step) for step in steps})
        (what,) = self._random.choices(kinds, [WEIGHTS.get(kind, 1) for kind in kinds])
        step = self._random.choice([step for step in steps if _what(step) == what])
        if step.call and not state.late and self._random.random() < OFTEN_LATE:
            return step._replace(after=step.after._replace(late=step.call))
        return step


def _what(step: Step) -> str:
    return str(step.call[0]) if step.call else step.label.split()[-1]


@pytest.mark.parametrize("seed", range(WALKS))
async def test_the_lua_takes_every_walk_of_the_model(redis_url: str, seed: int) -> None:
    walk = Walk(Random(seed))  # noqa: S311  # a seed, so that a failure can be repeated
    pool = RealPool(redis_url, SETUP.jobs, SETUP.instances)
    state = walk.start()
    way: list[str] = []
    for _ in range(STEPS):
        step = walk.next_step(state)
        way.append(step.label)
        if step.call:
            reply = await pool.call(*step.call)
            assert reply is None or reply == step.reply, way
        else:
            pool.run_out(state.redis, step.after.redis)
        assert pool.seen() == step.after.redis, way
        state = step.after
    await pool.close()


def test_the_walks_reach_every_script_and_every_end() -> None:
    steps, ends = set[object](), set[str]()
    for seed in range(WALKS):
        walk = Walk(Random(seed))  # noqa: S311  # as above
        state = walk.start()
        for _ in range(STEPS):
            step = walk.next_step(state)
            steps |= {step.call[:1], step.label.split()[0]}
            state = step.after
            ends |= {job.state for job in state.redis.jobs if job}
    scripts = (
        "admit cancel drain resume lead resign route reap register retire claim renew done release"
    )
    assert {(script,) for script in scripts.split()} | {"late:"} <= steps
    assert ends >= {COMPLETED, FAILED, CANCELLED}

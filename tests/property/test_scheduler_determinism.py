"""The same events decide the same, in every process: no chance, no address, no order of hashing.

A second leader, and whoever replays a trace, must come to the decisions of the first.
"""

import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Final, get_args

import pytest
from scheduler_support import Stage

from preble.config import PolicyName
from preble.messages import Assignment, InstanceId, encode

TESTS: Final = Path(__file__).parents[1]
POLICIES: Final[tuple[PolicyName, ...]] = get_args(PolicyName)
SEED: Final = 20_240_700
EVENTS: Final = 1_500
STEMS: Final = ("SSSSSSSS", "SSSSTTTT", "UUUU", "VVVVVVVVVVVV")
INSTANCES: Final = tuple(InstanceId(f"gpu{number}") for number in range(6))


class Play:
    """Random events of a pool, which ask the scheduler's decisions to go on."""

    def __init__(self, policy: PolicyName, seed: int) -> None:
        self.chance = Random(seed)  # noqa: S311  # nothing is kept secret by it
        self.stage = Stage(policy, instances=4, capacity_blocks=40)
        self.there = list(INSTANCES[:4])
        self.under_way: list[Assignment] = []
        self.decisions: list[Assignment] = []
        self.now_s = 0.0

    def run(self) -> list[Assignment]:
        acts = [self.arrive, self.end, self.store, self.evict, self.come_or_go]
        for _ in range(EVENTS):
            self.now_s += self.chance.random() / 4
            (act,) = self.chance.choices(acts, weights=[10, 5, 5, 2, 1])
            act()
        return self.decisions

    def prompt(self) -> str:
        stem = self.chance.choice(STEMS)
        return stem + chr(self.chance.randrange(97, 105)) * self.chance.randrange(4)

    def arrive(self) -> None:
        made = self.stage.assign(self.prompt(), extra_tokens=3, now_s=self.now_s)
        self.decisions.append(made)
        self.under_way.append(made)

    def end(self) -> None:
        if self.under_way:
            made = self.under_way.pop(self.chance.randrange(len(self.under_way)))
            self.stage.end(
                made.job_id, made.instance_id, output_tokens=self.chance.randrange(40),
                decode_s=self.chance.random(), now_s=self.now_s,
            )  # fmt: skip

    def store(self) -> None:
        self.stage.store(self.chance.choice(self.there), self.prompt())

    def evict(self) -> None:
        prompt = self.prompt()
        after = prompt[: self.chance.randrange(len(prompt))]
        self.stage.evict(self.chance.choice(self.there), prompt, after=after)

    def come_or_go(self) -> None:
        instance = self.chance.choice(INSTANCES)
        if instance in self.there and len(self.there) > 1:
            self.there.remove(instance)
            self.stage.scheduler.leave(instance)
        elif instance not in self.there:
            self.there.append(instance)
            self.stage.join(instance, capacity_blocks=40)


def play(policy: PolicyName, seed: int = SEED) -> bytes:
    return encode(Play(policy, seed).run())


def play_elsewhere(hash_seed: int) -> list[str]:
    """What every policy decides in a process of its own, one a line, in hexadecimal."""
    code = "from test_scheduler_determinism import *; print(*(play(p).hex() for p in POLICIES))"
    paths = os.pathsep.join([str(TESTS), str(TESTS / "property")])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=100,
        env=os.environ | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": paths},
    )  # fmt: skip
    return done.stdout.split()


def test_all_processes_decide_the_same() -> None:
    decided = [play_elsewhere(hash_seed) for hash_seed in (1, 2)]
    assert decided[0] == decided[1]
    assert len(decided[0]) == len(POLICIES)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_replay_decides_the_same(policy: PolicyName) -> None:
    assert play(policy) == play(policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_decision_is_possible_and_says_what_it_knew(policy: PolicyName) -> None:
    decisions = Play(policy, SEED).run()
    assert len(decisions) > EVENTS / 4
    for each in decisions:
        assert each.instance_id in each.weighed.instance_ids
        assert 0 <= each.predicted_hit_tokens <= each.available_hit_tokens
        assert each.available_hit_tokens == max(each.weighed.hit_tokens)


def test_the_play_reaches_what_e2_distinguishes() -> None:
    """Else the same decisions would say little."""
    reasons = {each.reason for each in Play("e2", SEED).run()}
    assert reasons >= {"exploit", "explore", "decode_heavy", "replicated"}

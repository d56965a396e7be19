"""A scheduler as policy tests use it: what is held and placed where, and what comes next."""

import json
import sys
from itertools import count
from random import Random
from typing import Final, get_args

from support import record

from preble.config import PolicyName
from preble.messages import (
    Assignment,
    BlocksStored,
    EventBatch,
    InstanceId,
    JobEnded,
    JobId,
    JobSpec,
    PlacedJob,
    SamplingParams,
    WaitingJob,
    pack_keys,
)
from preble.policy import Policy, create_policy
from preble.scheduler import Scheduler

BLOCK: Final = 64
POLICIES: Final[tuple[PolicyName, ...]] = get_args(PolicyName)


class Pool:
    """Instances `a`, `b`, ... of 8 slots and 10,000 tokens under one policy."""

    def __init__(self, policy: PolicyName | Policy, instances: str = "ab") -> None:
        made = create_policy(policy) if isinstance(policy, str) else policy
        self.scheduler = Scheduler(made, block_size=BLOCK, history_s=180)
        self._serial = count()
        self._seq: dict[str, int] = {}
        for name in instances:
            self.join(name)

    def join(self, name: str) -> None:
        """An instance begins its life."""
        self.scheduler.join(record(name))

    def leave(self, name: str) -> None:
        """An instance is gone."""
        self._seq.pop(name, None)
        self.scheduler.leave(InstanceId(name))

    def holds(self, name: str, *keys: int) -> None:
        """An instance stores these blocks, a prefix from the first."""
        seq = self._seq[name] = self._seq.get(name, 0) + 1
        stored = BlocksStored(pack_keys(keys))
        self.scheduler.fold(EventBatch(InstanceId(name), "e1", seq, (stored,)))

    def load(self, name: str, jobs: int, *, tokens: int = 10, keys: tuple[int, ...] = ()) -> None:
        """Jobs are on an instance already; nobody holds anything of them but their keys."""
        for _ in range(jobs):
            job = JobId(f"load{next(self._serial)}")
            placed = PlacedJob(job, InstanceId(name), _spec(tokens), pack_keys(keys))
            self.scheduler.restore(placed, now_s=0)

    def assign(self, *keys: int, tokens: int = 0, job: str = "", now_s: float = 0.0) -> Assignment:
        """Place a prompt of these blocks; if not told, it is as long, and a token without any."""
        spec = _spec(tokens or len(keys) * BLOCK or 1)
        job_id = JobId(job or f"job{next(self._serial)}")
        waiting = WaitingJob(job_id, "ingress", spec, pack_keys(keys))
        assignment = self.scheduler.assign(waiting, now_s=now_s)
        assert assignment
        return assignment

    def end(self, assignment: Assignment, *, now_s: float = 0.0, tokens: int = 4) -> None:
        """A placed job completes."""
        end = JobEnded(assignment.job_id, assignment.instance_id, tokens)
        self.scheduler.ended(end, now_s=now_s)


def blocks(number: int, *, branch: int = 0) -> tuple[int, ...]:
    """Keys of a prompt of so many blocks; those of one branch share all they can."""
    return tuple(branch * 1_000 + key for key in range(1, number + 1))


def decision(decided: Assignment) -> tuple[str, str]:
    """Where to, and why."""
    return decided.instance_id, decided.reason


def costs(assignment: Assignment) -> list[float | None]:
    """What the policy minimized, in the order of the instances."""
    return [each.cost for each in assignment.candidates]


def replay(policy: PolicyName, *, seed: int = 1, decisions: int = 200) -> list[str]:
    """Where jobs of shared and own prefixes go, while jobs end and an instance leaves."""
    pool = Pool(create_policy(policy, seed=seed), "abcde")
    chance = Random(seed)  # noqa: S311  # a script of events, no secret
    going, taken = list[Assignment](), list[str]()
    for number in range(decisions):
        family = 1_000 * chance.randrange(8)
        shared = tuple(range(family + 1, family + 1 + chance.randrange(1, 12)))
        placed = pool.assign(*shared, 100_000 + number, now_s=number / 10)
        going.append(placed)
        taken.append(f"{placed.instance_id} {placed.reason}")
        if chance.random() < 0.5:
            pool.holds(placed.instance_id, *shared)
        if chance.random() < 0.8:
            ended = going.pop(chance.randrange(len(going)))
            pool.end(ended, now_s=number / 10, tokens=chance.randrange(1, 90))
        if number == decisions // 2:
            pool.leave("c")
            going = [each for each in going if each.instance_id != "c"]
    return taken


def _spec(tokens: int) -> JobSpec:
    return JobSpec(tokens, SamplingParams(max_new_tokens=4))


if __name__ == "__main__":
    json.dump({policy: replay(policy) for policy in POLICIES}, sys.stdout)

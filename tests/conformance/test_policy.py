"""What every policy promises, whatever it weighs."""

import gc
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import BuiltinFunctionType, CellType, FunctionType, ModuleType
from typing import Any

import policies
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import POLICIES, Pool, replay

from preble.config import PolicyName
from preble.decision import MAX_CANDIDATES
from preble.messages import Assignment
from preble.policy import Policy, create_policy
from preble.prefix_tree import Node

every_policy = pytest.mark.parametrize("policy", POLICIES)

NAMES = [chr(ord("0") + number) for number in range(40)]
PROMPT = tuple(range(1, 9))

steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(0, 5)),
        st.tuples(st.just("leave"), st.integers(0, 5)),
        st.tuples(st.just("assign"), st.integers(0, 8)),
        st.tuples(st.just("store"), st.integers(0, 8)),
        st.tuples(st.just("end"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.sampled_from([1, 100, 200])),
    ),
    max_size=60,
)


def assert_sound(decided: Assignment, pool: Pool) -> None:
    live = [each.instance_id for each in pool.scheduler.instances]
    named = [each.instance_id for each in decided.candidates]
    assert decided.instance_id in named
    assert set(named) <= set(live)
    assert len(named) == min(len(live), MAX_CANDIDATES)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", decided.reason)
    cost = [each.cost for each in decided.candidates]
    assert None not in cost or set(cost) == {None}
    assert all(each is None or (math.isfinite(each) and each >= 0) for each in cost)


@every_policy
def test_it_bears_the_name_it_is_asked_for_by(policy: PolicyName) -> None:
    assert create_policy(policy).name == policy
    assert Pool(policy).assign().policy == policy


@every_policy
@pytest.mark.parametrize("number", [1, 2, 3, MAX_CANDIDATES + 1, 40])
def test_it_always_finds_an_instance(policy: PolicyName, number: int) -> None:
    """Prompts with and without blocks, held by none or all, all idle or beyond every gate."""
    for jobs in (0, 70):
        pool = Pool(policy, "".join(NAMES[:number]))
        for name in NAMES[:number]:
            pool.load(name, jobs, tokens=500)
        for held in (0, 4, 8):
            for name in NAMES[:number]:
                pool.holds(name, *PROMPT[:held])
            for keys in (PROMPT, (), PROMPT[:3], (77, 78)):
                assert_sound(pool.assign(*keys, tokens=64 * len(keys) + 1), pool)


@every_policy
@settings(max_examples=25, deadline=None)
@given(script=steps)
def test_it_only_ever_chooses_who_is_there(
    policy: PolicyName, script: list[tuple[str, int]]
) -> None:
    pool, now_s, going = Pool(policy, NAMES[0]), 0.0, list[Assignment]()
    for step, number in script:
        match step:
            case "join":
                pool.join(NAMES[number])
            case "leave" if len(pool.scheduler.instances) > 1:
                pool.leave(NAMES[number])
            case "assign":
                going.append(pool.assign(*PROMPT[:number], tokens=64 * number + 1, now_s=now_s))
                assert_sound(going[-1], pool)
            case "store" if going and number:
                pool.holds(going[-1].instance_id, *PROMPT[:number])
            case "end" if going:
                pool.end(going.pop(number % len(going)), now_s=now_s)
            case "wait":
                now_s += number
            case _:
                pass


def test_the_same_history_gives_the_same_choices_in_every_process() -> None:
    here = {policy: replay(policy) for policy in POLICIES}
    assert _replayed(hash_seed=1) == _replayed(hash_seed=2) == here


@every_policy
def test_its_state_is_bounded_by_the_window(policy: PolicyName) -> None:
    """10,000 prompts of their own at 5/s: no more is kept than of the 900 in one window."""
    made = create_policy(policy)
    pool = Pool(made, "abc")
    sizes = list[int]()
    for number in range(10_000):
        now_s = number / 5
        pool.end(pool.assign(1, 2, number + 10, number + 20_000, now_s=now_s), now_s=now_s)
        if number in {0, 2_000, 9_999}:
            sizes.append(_kept(made))
    first, full, last = sizes
    assert last <= 1.02 * full
    assert full <= first + 900 * 30
    pool.end(pool.assign(1, 2, now_s=99_999), now_s=99_999)
    assert _kept(made) <= first + 30


def _replayed(*, hash_seed: int) -> dict[str, list[str]]:
    """The history replayed in a fresh process."""
    tests = Path(policies.__file__)
    root = tests.parents[1]
    environ = os.environ | {
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONPATH": os.pathsep.join([str(tests.parent), str(root)]),
    }
    told = subprocess.run(
        [sys.executable, str(tests)], env=environ, check=True, capture_output=True, timeout=120
    )
    replayed: dict[str, list[str]] = json.loads(told.stdout)
    return replayed


def _kept(policy: Policy) -> int:
    """Objects that a policy refers to, but for code, and for what the tree keeps anyhow."""
    seen, stack = set[int](), list[Any]([policy])
    while stack:
        each = stack.pop()
        if id(each) in seen or isinstance(each, (type, ModuleType, BuiltinFunctionType, Node)):
            continue
        seen.add(id(each))
        stack += _referents(each)
    return len(seen)


def _referents(each: object) -> list[Any]:
    if isinstance(each, FunctionType):
        return list(each.__closure__ or ())
    if isinstance(each, CellType):
        return [each.cell_contents]
    return gc.get_referents(each)

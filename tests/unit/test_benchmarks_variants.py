"""Variants differ from the original in what their names say, and in nothing else.

`preble`, as in `test_policy_preble.py`: a token takes 1 ms to prefill, a step 1 ms for each job
that decodes, and a token of context 0.25 ms in both; outputs are of 45 tokens. Half of the time
went to prefills. A job of 40 tokens, beside one of 70 that waits for its prefill, costs

    backlog 87.5  +  output * (step + drag) 45 * (29.5 + 10)  +  P 50
                  +  p * (n + 2) / (1 - s) 50 * 3 * 2
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace
from scheduler_support import GPU0, GPU1, ONE_MS_A_TOKEN, Stage, decided

from benchmarks import variants
from benchmarks.experiments.contenders import LATE, variant
from benchmarks.experiments.robustness import ROBUSTNESS
from benchmarks.trace_files import with_cost_model
from preble.cost_model import load_cost_model
from preble.cost_model.files import format_coefficients, load_coefficients
from preble.messages import Assignment, InstanceId
from preble.policy import Policy, create_policy
from preble.policy.e2 import E2
from preble.policy.preble import least_delay
from preble.simulator.outcome import PoolSettings
from preble.simulator.replay import replay
from preble.simulator.source import Source

PREFIX = "SSSSSSSS"

COST_MS: Final = 87.5 + 45 * (29.5 + 10) + 50 + 50 * 3 * 2


@pytest.fixture
def reading(tmp_path: Path) -> str:
    """A cost model with which a token of context, too, costs a step 0.25 ms."""
    known = load_coefficients(ONE_MS_A_TOKEN)
    attention = replace(known.attention, per_context_token_ms=0.25)
    file = tmp_path / "reading.json"
    file.write_bytes(format_coefficients(replace(known, attention=attention)))
    return str(file)


def cost_ms(assignment: Assignment) -> float:
    """On the first instance."""
    cost_s = assignment.candidates[0].cost
    assert cost_s is not None
    return round(1_000 * cost_s, 3)


@pytest.mark.parametrize(
    ("make", "expected_ms"),
    [
        (least_delay, COST_MS),
        (variants.no_backlog, COST_MS - 87.5),
        (variants.no_decode, COST_MS - 45 * 29.5),
        (variants.no_drag, COST_MS - 45 * 10),
        (variants.no_jobs_beside, COST_MS - 50 * 1 * 2),
        (variants.nobody_to_come, COST_MS - 50 * 2 * 2),
        (variants.any_length, COST_MS),
        (variants.no_share, COST_MS - 50 * 3),
        (variants.no_recompute, COST_MS),
        (variants.no_kv_memory, COST_MS),
    ],
)
def test_a_variant_of_preble_lacks_its_term(
    make: Callable[[], Policy], expected_ms: float, reading: str
) -> None:
    """3,930 tokens and 70 took 5 s of 10."""
    stage = Stage(make(), instances=0)
    stage.join(GPU0, cost_model=reading)
    stage.end(stage.put(GPU0, "", extra_tokens=3_930), GPU0)
    stage.put(GPU0, "xxxxxxx")
    assert cost_ms(stage.assign("aaaa")) == expected_ms


@pytest.mark.parametrize(
    ("make", "others_ms"), [(least_delay, 5_000), (variants.any_length, 8_000)]
)
def test_of_any_length_a_prefill_counts_in_full_for_others(
    make: Callable[[], Policy], others_ms: float
) -> None:
    """8 s, and two that come wait for 5 s of them, or for all."""
    stage = Stage(make(), instances=1)
    assert cost_ms(stage.assign("a" * 800)) == 45 + 8_000 + others_ms * 2


@pytest.mark.parametrize(("make", "longer"), [(least_delay, 2), (variants.no_recompute, 1)])
def test_without_recompute_evictions_cost_nothing(
    make: Callable[[], Policy], longer: float
) -> None:
    """Half of 80 ms in 10 s was computed again."""
    stage = Stage(make(), instances=1)
    for _ in range(2):
        stage.end(stage.put(GPU0, "xxxx"), GPU0)
    assert cost_ms(stage.assign("aaaa")) == round(45 + 40 + 40 * 2 / 0.992 * longer, 3)


@pytest.mark.parametrize(
    ("make", "waits_ms"), [(least_delay, 4 * 10_000), (variants.no_kv_memory, 0)]
)
def test_without_kv_memory_nothing_waits_for_it(
    make: Callable[[], Policy], waits_ms: float
) -> None:
    """95 of 200 tokens in use, 30 are missing of 135; the only job stays 10 s. 41 ms of 10 s went
    to prefills."""
    stage = Stage(make(), instances=1, capacity_blocks=20)
    stage.end(stage.put(GPU0, ""), GPU0, output_tokens=45, now_s=10)
    stage.put(GPU0, "xxxx")
    stage.store(GPU0, "xxxx")
    assert cost_ms(stage.assign("aaaaaaaa")) == round(45 * 2 + 80 + 80 * 3 / 0.9959 + waits_ms, 3)


def waits_grow(stage: Stage) -> None:
    """Five requests of a prefix wait 100 ms, and then five three times as long."""
    stage.store(GPU0, PREFIX)
    for now_s, wait_s, suffixes in ((0, 0.1, "abcde"), (50, 0.3, "fghij")):
        placed = [stage.assign(PREFIX + suffix, now_s=now_s) for suffix in suffixes]
        for each in placed:
            end_s = now_s + each.prefill_s + wait_s
            stage.end(each.job_id, each.instance_id, output_tokens=1, now_s=end_s)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (E2, (GPU1, "replicated")),
        (variants.e2_readjustment, (GPU1, "replicated")),
        (variants.e2_placement, (GPU0, "exploit")),
    ],
)
def test_plain_placement_replicates_nothing(
    make: Callable[[], Policy], expected: tuple[InstanceId, str]
) -> None:
    stage = Stage(make())
    waits_grow(stage)
    assert decided(stage.assign(PREFIX + "z", now_s=100)) == expected


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (E2, (GPU1, "rebalanced")),
        (variants.e2_readjustment, (GPU1, "rebalanced")),
        (variants.e2_placement, (GPU0, "exploit")),
    ],
)
def test_plain_placement_rebalances_nothing(
    make: Callable[[], Policy], expected: tuple[InstanceId, str]
) -> None:
    stage = Stage(make())
    stage.store(GPU0, PREFIX)
    for _ in range(100):
        stage.load(GPU0, 100)
    assert decided(stage.assign(PREFIX + "z")) == expected


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (E2, (GPU0, "decode_heavy")),
        (variants.e2_readjustment, (GPU1, "explore")),
        (variants.e2_placement, (GPU1, "explore")),
    ],
)
def test_without_decode_balance_a_miss_goes_where_it_costs_least(
    make: Callable[[], Policy], expected: tuple[InstanceId, str]
) -> None:
    """All ten requests on gpu0 were exploits."""
    stage = Stage(make())
    stage.store(GPU0, PREFIX)
    for _ in range(10):
        stage.put(GPU0, PREFIX + "u")
    assert decided(stage.assign("wwww")) == expected


def test_a_contender_names_its_variant_by_import_path() -> None:
    contender = variant(LATE, "no decode", variants.no_decode)
    assert contender == replace(LATE, name="no decode", policy="benchmarks.variants:no_decode")
    stage = Stage(create_policy(contender.policy), instances=1)
    assert cost_ms(stage.assign("aaaa")) == 40 * 3


def world(name: str) -> PoolSettings:
    """Of the experiment `robustness`, with its files."""
    [scenario] = (each for each in ROBUSTNESS.scenarios if each.name == f"leval_docqa: {name}")
    return with_cost_model(scenario.pool)


def test_slow_prefill_is_1_5_times_as_slow_and_decodes_as_ever() -> None:
    pool = world("slow prefill")
    assert Path(pool.engine.cost_model).is_file()
    slow, known = load_cost_model(pool.engine.cost_model), load_cost_model("mistral_7b_a6000")
    assert slow.prefill_s(8_192, 8_192) / known.prefill_s(8_192, 8_192) == pytest.approx(1.5, 0.02)
    assert slow.totals_s(64, 64_000, 64) == known.totals_s(64, 64_000, 64)


def test_a_pool_without_a_file_of_ours_stays_as_it_is() -> None:
    assert with_cost_model(world("another GPU")) == world("another GPU")


def test_what_the_scheduler_believes_changes_its_choices_not_the_engines() -> None:
    """All engines are alike: one request alone takes as long, and many are placed otherwise."""
    source = Source(workload="toolbench", num_requests=200)
    believing = replace(world("another GPU"), policy="preble", speeds=(1.0, 1.0))
    knowing = replace(world("as modelled"), policy="preble", speeds=(1.0, 1.0))
    many = source.load(seed=1, rps=20.0)
    alone = replace(many, requests=many.requests[:1])
    assert replay(alone, believing) == replay(alone, knowing)
    placed = [[one.instance for one in replay(many, each).served] for each in (believing, knowing)]
    assert placed[0] != placed[1]

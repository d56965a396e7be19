"""Cells are known again by what they depend on."""

from msgspec.structs import replace

from benchmarks.cells import plan
from benchmarks.experiments import EXPERIMENTS
from benchmarks.quick import quick
from benchmarks.spec import Column, Contender, Experiment, Scenario
from preble.simulator.outcome import PoolSettings
from preble.simulator.run import EngineSettings
from preble.simulator.source import Source

POOL = PoolSettings(
    policy="e2",
    engine=EngineSettings(cost_model="mistral_7b_a6000", kv_capacity_tokens=20_000),
    speeds=(1.0, 1.0),
)
E2 = Contender(name="e2", policy="e2")
PLAIN = Contender(name="plain", policy="least_outstanding")
SCENARIO = Scenario(
    name="tools",
    sources=(Source(workload="toolbench", num_requests=40),),
    pool=POOL,
    contenders=(E2, PLAIN),
    loads=(0.5, 1.0),
)
EXPERIMENT = Experiment(
    name="small", title="Small", about="Small.", scenarios=(SCENARIO,), seeds=3,
    columns=(Column("mean s", "mean_s"),), chart=(Column("mean s", "mean_s"),),
)  # fmt: skip


def with_scenario(scenario: Scenario) -> Experiment:
    return replace(EXPERIMENT, scenarios=(scenario,))


def test_each_contender_meets_each_load_with_each_seed() -> None:
    cells = plan(EXPERIMENT).cells.values()
    assert {(each.contender, each.load, each.seed) for each in cells} == {
        (contender, load, seed)
        for contender in ("e2", "plain")
        for load in (0.5, 1.0)
        for seed in (1, 2, 3)
    }


def test_capacity_is_found_once_for_a_source_and_once_for_each_window() -> None:
    assert len(plan(EXPERIMENT).capacities) == 1
    windows = tuple(replace(SCENARIO.sources[0], skip_requests=skip) for skip in (0, 10))
    planned = plan(with_scenario(replace(SCENARIO, sources=windows)))
    assert [cell.source.skip_requests for cell in planned.capacities.values()] == [0, 10]
    for cell in planned.cells.values():
        assert planned.capacities[cell.capacity].source == cell.source


def test_seeds_take_the_windows_in_turn() -> None:
    windows = tuple(replace(SCENARIO.sources[0], skip_requests=skip) for skip in (0, 10))
    cells = plan(with_scenario(replace(SCENARIO, sources=windows))).cells.values()
    assert {(each.seed, each.source.skip_requests) for each in cells} == {(1, 0), (2, 10), (3, 0)}


def test_a_key_stays_until_something_changes_that_it_depends_on() -> None:
    before = plan(EXPERIMENT)
    assert plan(replace(EXPERIMENT, title="Another")).cells.keys() == before.cells.keys()
    slower = replace(SCENARIO, pool=replace(POOL, speeds=(1.0, 0.5)))
    assert not plan(with_scenario(slower)).cells.keys() & before.cells.keys()


def test_another_yardstick_changes_what_a_load_is() -> None:
    before = plan(EXPERIMENT)
    after = plan(with_scenario(replace(SCENARIO, yardstick="round_robin")))
    assert not after.capacities.keys() & before.capacities.keys()
    assert not after.cells.keys() & before.cells.keys()


def test_a_change_of_one_contender_leaves_the_others_their_keys() -> None:
    late = replace(E2, binding="late", pool={"credit_s": 1.0}, engine={"slots": 8})
    after = plan(with_scenario(replace(SCENARIO, contenders=(late, PLAIN))))
    kept = after.cells.keys() & plan(EXPERIMENT).cells.keys()
    assert {after.cells[key].contender for key in kept} == {"plain"}
    changed = next(cell for cell in after.cells.values() if cell.contender == "e2")
    assert (changed.pool.binding, changed.pool.credit_s, changed.pool.engine.slots) == (
        "late", 1.0, 8,
    )  # fmt: skip


def test_requests_that_come_at_once_have_no_load_and_no_warm_up() -> None:
    offline = replace(E2, source={"offline": "random"})
    planned = plan(with_scenario(replace(SCENARIO, contenders=(offline,), loads=())))
    assert not planned.capacities
    assert {(each.load, each.rps, each.warm_up) for each in planned.cells.values()} == {
        (None, None, 0.0)
    }


def test_all_experiments_can_be_planned() -> None:
    """A contender's fields exist, and no two cells of an experiment have one name or one key."""
    for experiment in EXPERIMENTS.values():
        for each in (experiment, quick(experiment)):
            cells = plan(each).cells.values()
            assert {cell.capacity for cell in cells} - {""} == plan(each).capacities.keys()
            names = {(cell.scenario, cell.contender, cell.load, cell.seed) for cell in cells}
            assert len(names) == len(cells)


def test_contenders_that_are_compared_exist() -> None:
    for experiment in EXPERIMENTS.values():
        comparison = experiment.comparison
        for scenario in experiment.scenarios:
            names = {contender.name for contender in scenario.contenders}
            assert len(names) == len(scenario.contenders)
            if comparison:
                assert names >= {*comparison.ours, *comparison.others}

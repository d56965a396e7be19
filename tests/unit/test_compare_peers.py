"""What the comparison with peers' routers rests on: equal prompts, and figures that add up."""

import pytest
from msgspec.structs import replace

from preble.block_keys import block_keys
from preble.cost_model import CostModel, StepRequest
from preble.messages import TOKEN_BYTES, pack_keys, unpack_keys
from preble.simulator.workload import TimedRequest, Workload
from tools.compare_peers import with_row
from tools.peers.figures import Figures, Outcome, same_decisions
from tools.peers.matches import REQUESTS, Match, simulated, with_new_copy, workload_of
from tools.peers.mocker import mocker_model, trace_rows
from tools.peers.placements import placed_as
from tools.peers.tables import spread, tables
from tools.peers.texts import prompt_text, tokens_of


def request(*keys: int, rest: int = 10) -> TimedRequest:
    return TimedRequest(1.5, 64 * len(keys) + rest, 4, pack_keys(keys))


def test_text_has_four_characters_for_each_token_and_gives_them_back() -> None:
    text = prompt_text(request(1, 2), 0, 64)
    assert len(text) == 4 * (2 * 64 + 10)
    assert len(tokens_of(text)) == TOKEN_BYTES * (2 * 64 + 10)


def test_an_engine_finds_the_blocks_that_the_workload_shares_and_no_others() -> None:
    def keys_of(number: int, *keys: int) -> list[int]:
        tokens = tokens_of(prompt_text(request(*keys, rest=64), number, 64))
        return unpack_keys(block_keys(tokens, root=0, block_size=64))

    first, second = keys_of(0, 1, 2), keys_of(1, 1, 3)
    assert first[0] == second[0]
    assert not set(first[1:]) & set(second[1:])
    assert keys_of(0, 1, 2)[2] != keys_of(1, 1, 2)[2]  # the rest is each request's own


def test_figures_count_hits_by_tokens_and_order_the_instances() -> None:
    outcomes = [Outcome(2, 100, 50, 1.0), Outcome(2, 300, 0, 3.0), Outcome(0, 100, 75, 2.0)]
    figures = Figures.of(outcomes, 4)
    assert figures.hit_rate == 0.25
    assert figures.mean_latency_s == 2.0
    assert figures.p99_latency_s == 3.0
    assert figures.requests == (2, 1, 0, 0)
    assert figures.imbalance == pytest.approx(2 / 0.75, abs=1e-3)


def test_decisions_are_compared_by_the_best_renaming_of_instances() -> None:
    def placed(*instances: int) -> list[Outcome]:
        return [Outcome(instance, 1, 0, 1.0) for instance in instances]

    assert same_decisions(placed(0, 0, 1, 2), placed(2, 2, 0, 1), 3) == 1.0
    assert same_decisions(placed(0, 0, 1, 1), placed(0, 1, 0, 1), 2) == 0.5


def test_a_trace_has_one_number_for_each_block_and_its_own_for_each_rest() -> None:
    rows = trace_rows(Workload("small", 64, (request(7, 8), request(7, 9), request(7, rest=0))))
    assert [row.hash_ids for row in rows] == [[0, 1, 2], [0, 3, 4], [0]]
    assert rows[0].timestamp == 1500
    assert (rows[0].input_length, rows[0].output_length) == (138, 4)


def test_the_cost_model_has_the_steps_that_the_mocker_was_measured_to_have() -> None:
    """A prefill beside one decode, and decodes over half of the KV cache."""
    model = CostModel(mocker_model(131_072, full_ms=41.1))
    mixed = [StepRequest(1024, 1024), StepRequest(1, 1024)]
    decodes = [StepRequest(1, 8192)] * 8
    assert model.step_s(mixed) == pytest.approx(0.0402, rel=0.05)
    assert model.step_s(decodes) == pytest.approx(0.0263, rel=0.05)


def test_a_new_row_takes_the_place_of_the_old_one_of_its_case() -> None:
    rows = [match("smg", 1, 2.0), match("smg", 2, 2.0)]
    rows = with_row(rows, match("smg", 1, 3.0))
    rows = with_row(rows, match("other", 1, 4.0))
    assert [(row.router, row.seed) for row in rows] == [("other", 1), ("smg", 1), ("smg", 2)]
    assert rows[1].real.mean_latency_s == 3.0


def test_a_table_has_medians_and_ranges_of_the_real_one_and_then_of_the_copy() -> None:
    lines = list(tables([match("smg", seed, 1.0 + seed) for seed in (1, 2, 3)], []))
    assert lines[2].startswith("| toolbench, smg | 0.5 (0.5..0.5) / 0.5 (0.5..0.5) | 3 (2..4) / 1")
    assert spread([0.25]) == "0.25"


def test_a_new_copy_stands_beside_the_real_one_as_it_was_and_shares_no_decisions_with_it() -> None:
    stored = match("smg", 1, 2.0)
    anew = with_new_copy(stored)
    assert anew.real == stored.real
    assert sum(anew.copy.requests) == REQUESTS
    assert anew.same_decisions is None
    assert with_new_copy(replace(anew, same_decisions=0.3)).same_decisions == 0.3
    assert list(tables([anew], []))[2].endswith("| - |")


def test_requests_are_placed_as_another_router_placed_them() -> None:
    workload = workload_of("toolbench", seed=1, num_requests=20)
    instances = [number % 3 for number in range(20)]
    with placed_as(instances) as policy:
        outcomes = simulated(workload, policy)
    assert [each.instance for each in outcomes] == instances


def match(router: str, seed: int, mean_s: float) -> Match:
    def figures(latency_s: float) -> Figures:
        return Figures.of([Outcome(0, 10, 5, latency_s)], 1)

    return Match(
        router=router, workload="toolbench", rps=1.0, seed=seed, real=figures(mean_s),
        copy=figures(1.0), same_decisions=1.0, cores_used=0.1,
    )  # fmt: skip

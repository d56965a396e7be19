"""The simulated engine, by worked examples; tests/property compares it with a slow one."""

import random

import pytest

from preble.cost_model import CostModel, StepRequest, load_cost_model
from preble.errors import ConfigError, InvariantError
from preble.messages import BlocksRemoved, BlocksStored, pack_keys, pack_tokens
from preble.simulator.instance_model import InstanceModel
from preble.simulator.run import EngineSettings, Run
from preble.simulator.workload import TimedRequest
from preble_workers.kv_cache import KvCache
from preble_workers.step_planner import Run as PlannedRun
from preble_workers.step_planner import StepPlanner

BLOCK = 4
COST_MODEL = load_cost_model("mistral_7b_a6000")


class Bench:
    """An engine, and the runs that were submitted to it."""

    def __init__(self, *, speed: float = 1.0, **settings: object) -> None:
        fields = {"cost_model": COST_MODEL.name, "kv_capacity_tokens": 1_000, **settings}
        rules = EngineSettings(**fields)  # type: ignore[arg-type]  # settings of each test
        self.engine = InstanceModel(rules, COST_MODEL, block_size=BLOCK, speed=speed)

    def submit(
        self, prompt_tokens: int, output_tokens: int, *, keys: tuple[int, ...] = (),
        at_s: float = 0.0,
    ) -> Run:  # fmt: skip
        request = TimedRequest(at_s, prompt_tokens, output_tokens, pack_keys(keys))
        run = Run(0, request)
        self.engine.submit(run, at_s)
        return run

    def finish(self) -> None:
        while not self.engine.is_idle:
            self.engine.advance()


def step_s(*requests: tuple[int, int]) -> float:
    return COST_MODEL.step_s([StepRequest(new, context) for new, context in requests])


def test_a_prefill_yields_the_first_token_and_each_decode_step_one_more() -> None:
    bench = Bench()
    run = bench.submit(10, 3)
    bench.finish()
    assert run.first_token_at_s == pytest.approx(step_s((10, 10)))
    decodes_s = step_s((1, 11)) + step_s((1, 12))
    assert run.ended_at_s == pytest.approx(run.first_token_at_s + decodes_s)
    assert bench.engine.busy_s == pytest.approx(run.ended_at_s)


def test_decode_steps_without_change_are_one_stretch() -> None:
    bench = Bench()
    run = bench.submit(10, 900)
    stretches = 0
    while not bench.engine.is_idle:
        bench.engine.advance()
        stretches += 1
    assert stretches == 3  # it wakes, prefills, decodes
    assert run.produced_tokens == 900


def test_a_request_that_comes_while_others_decode_starts_with_the_next_step() -> None:
    bench = Bench()
    first = bench.submit(10, 100)
    bench.engine.advance()
    bench.engine.advance()
    third_ends_s = first.first_token_at_s + sum(step_s((1, 10 + n)) for n in (1, 2, 3))
    second = bench.submit(10, 1, at_s=third_ends_s - 0.001)
    bench.finish()
    assert second.admitted_at_s == pytest.approx(third_ends_s)
    assert second.ended_at_s == pytest.approx(third_ends_s + step_s((10, 10), (1, 14)))


def test_prefill_first_lets_decodes_stand_still() -> None:
    bench = Bench(steps="prefill_first")
    first = bench.submit(10, 2)
    bench.engine.advance()
    second = bench.submit(20, 1, at_s=0.001)
    bench.finish()
    assert second.ended_at_s == pytest.approx(step_s((10, 10)) + step_s((20, 20)))
    assert first.ended_at_s == pytest.approx(second.ended_at_s + step_s((1, 11)))


def test_twice_the_speed_takes_half_the_time() -> None:
    fast, slow = Bench(speed=2.0), Bench()
    runs = [bench.submit(300, 40) for bench in (fast, slow)]
    fast.finish()
    slow.finish()
    assert runs[0].ended_at_s * 2 == pytest.approx(runs[1].ended_at_s)


def test_of_a_prompt_that_is_held_one_token_is_computed_at_least() -> None:
    bench = Bench()
    bench.submit(8, 1, keys=(1, 2))
    bench.finish()
    again = bench.submit(8, 1, keys=(1, 2), at_s=9.0)
    bench.finish()
    assert (again.hit_tokens, again.prefilled_tokens) == (4, 4)


def test_blocks_are_told_as_they_are_computed_and_evicted_deepest_first() -> None:
    bench = Bench(kv_capacity_tokens=12, chunk_tokens=6)
    bench.submit(10, 1, keys=(1, 2))
    bench.engine.advance()
    bench.engine.advance()
    assert bench.engine.take_events() == (BlocksStored(pack_keys([1])),)
    bench.engine.advance()
    assert bench.engine.take_events() == (BlocksStored(pack_keys([2]), 1),)
    bench.submit(11, 1, at_s=9.0)
    bench.finish()
    assert bench.engine.take_events() == (
        BlocksRemoved(pack_keys([2])),
        BlocksRemoved(pack_keys([1])),
    )


def test_with_full_reserve_a_request_waits_until_its_output_fits_too() -> None:
    bench = Bench(kv_capacity_tokens=30)
    first, second = bench.submit(10, 10), bench.submit(5, 10)
    bench.finish()
    assert second.admitted_at_s == first.ended_at_s
    assert bench.engine.retractions == 0


def test_without_reserve_the_youngest_is_retracted_and_keeps_its_first_token() -> None:
    """25 tokens: 10 + 5 prompt and, at the 6th decode step of both, no room for two more."""
    bench = Bench(kv_capacity_tokens=25, output_reserve=0.0)
    first, second = bench.submit(10, 10), bench.submit(5, 10)
    bench.finish()
    assert bench.engine.retractions == 1
    assert second.first_token_at_s == first.first_token_at_s
    assert first.ended_at_s < second.ended_at_s
    assert (second.prefilled_tokens, second.recomputed_tokens) == (16, 11)


def test_what_a_retracted_request_finds_of_its_own_is_no_hit() -> None:
    bench = Bench(kv_capacity_tokens=26, output_reserve=0.0)
    bench.submit(10, 10)
    second = bench.submit(6, 10, keys=(1,))
    bench.finish()
    assert bench.engine.retractions == 1
    assert second.hit_tokens == 0
    assert second.prefilled_tokens - second.recomputed_tokens == 6
    assert second.recomputed_tokens == 12 - 4  # 6 of the prompt, 6 produced, a block held


def test_a_request_that_can_never_fit_is_refused() -> None:
    engine = EngineSettings(cost_model="mistral_7b_a6000", kv_capacity_tokens=99)
    engine.check_fits(TimedRequest(0.0, 90, 9, pack_keys(())))
    with pytest.raises(ConfigError, match="100 tokens exceeds the KV cache of 99"):
        engine.check_fits(TimedRequest(0.0, 90, 10, pack_keys(())))


def test_longest_hit_first_overtakes() -> None:
    bench = Bench(slots=1, wait_order="lpm")
    bench.submit(9, 5, keys=(1, 2))
    miss = bench.submit(9, 1, keys=(7, 8))
    hit = bench.submit(9, 1, keys=(1, 2))
    bench.finish()
    assert hit.ended_at_s < miss.ended_at_s
    assert hit.hit_tokens == 8


def test_tokens_that_do_not_add_up_are_noticed() -> None:
    bench = Bench()
    run = bench.submit(10, 1)
    run.hit_tokens = 1
    with pytest.raises(InvariantError, match="1 tokens hit, 10 computed of 10"):
        bench.finish()


# The emulated engine of the workers, step by step, on the same requests.


def draw_prompts(seed: int) -> list[tuple[list[int], int]]:
    """Prompts of which many begin alike, and output lengths."""
    chance = random.Random(seed)  # noqa: S311 - the same prompts in each run
    shared = [list(range(base, base + 60)) for base in (0, 1_000, 2_000)]
    prompts: list[tuple[list[int], int]] = []
    for number in range(30):
        head = chance.choice(shared)[: chance.randrange(61)]
        tail = [10_000 + 100 * number + n for n in range(chance.randrange(1, 40))]
        prompts.append((head + tail, chance.randrange(1, 50)))
    return prompts


def emulated(prompts: list[tuple[list[int], int]], model: CostModel) -> list[tuple[int, float]]:
    """Hits and ends of requests that all come at once."""
    cache = KvCache(capacity_pages=10_000, page_size=BLOCK)
    planner = StepPlanner(cache, slots=8, chunk_tokens=48)
    runs: list[PlannedRun] = []
    for number, (prompt, outputs) in enumerate(prompts):
        tokens = pack_tokens([*prompt, *[90_000 + number] * outputs])
        pages = cache.pages_of(tokens, prompt_tokens=len(prompt), cache_salt="")
        runs.append(PlannedRun(pages, outputs))
        planner.add(runs[-1])
    now_s, ends_s = 0.0, dict[PlannedRun, float]()
    while not planner.is_idle:
        step = planner.plan()
        now_s += model.step_s([StepRequest(each.new_tokens, each.context_tokens) for each in step])
        ends_s |= dict.fromkeys(planner.complete(step, now_s), now_s)
    return [(run.hit_tokens, ends_s[run]) for run in runs]


@pytest.mark.parametrize("seed", range(5))
def test_it_agrees_with_the_emulated_engine(seed: int) -> None:
    prompts = draw_prompts(seed)
    bench = Bench(kv_capacity_tokens=40_000, slots=8, chunk_tokens=48)
    naming = KvCache(capacity_pages=1, page_size=BLOCK)
    runs: list[Run] = []
    for prompt, outputs in prompts:
        pages = naming.pages_of(pack_tokens(prompt), prompt_tokens=len(prompt), cache_salt="")
        runs.append(bench.submit(len(prompt), outputs, keys=tuple(pages.page_hashes)))
    bench.finish()
    expected = emulated(prompts, COST_MODEL)
    assert [run.hit_tokens for run in runs] == [hits for hits, _ in expected]
    assert [run.ended_at_s for run in runs] == pytest.approx([end_s for _, end_s in expected])
    assert sum(hits for hits, _ in expected) > 0

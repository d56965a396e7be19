"""Continuous batching, step by step and without time."""

from preble.messages import pack_tokens
from preble_workers.kv_cache import KvCache
from preble_workers.step_planner import Run, Share, StepPlanner

PAGE = 4


class Bench:
    """A planner on a small cache, and runs that differ in their tokens."""

    def __init__(
        self, *, slots: int = 8, chunk_tokens: int = 16, capacity_pages: int = 100
    ) -> None:
        self.kv_cache = KvCache(capacity_pages=capacity_pages, page_size=PAGE)
        self.planner = StepPlanner(self.kv_cache, slots=slots, chunk_tokens=chunk_tokens)
        self.now_s = 0.0

    def add(self, prompt_tokens: int, output_tokens: int, *, first_id: int = 0) -> Run:
        ids = range(first_id, first_id + prompt_tokens + output_tokens)
        pages = self.kv_cache.pages_of(pack_tokens(ids), prompt_tokens=prompt_tokens, cache_salt="")
        run = Run(pages, output_tokens)
        self.planner.add(run)
        return run

    def step(self) -> tuple[list[Share], list[Run]]:
        self.now_s += 1.0
        step = self.planner.plan()
        finished = self.planner.complete(step, self.now_s)
        self.kv_cache.check_invariants()
        return step, finished


def shares(step: list[Share]) -> list[tuple[Run, int]]:
    return [(share.run, share.new_tokens) for share in step]


def test_an_idle_planner_has_an_empty_step() -> None:
    bench = Bench()
    assert bench.planner.is_idle
    assert bench.step() == ([], [])


def test_a_run_prefills_then_decodes_one_token_a_step() -> None:
    """10 prompt tokens and 3 of output: the prefill yields the first, so 3 steps."""
    bench = Bench()
    run = bench.add(10, 3)
    assert shares(bench.step()[0]) == [(run, 10)]
    assert (run.produced_tokens, run.first_token_at_s) == (1, 1.0)
    assert bench.step() == ([Share(run, 1)], [])
    assert bench.step() == ([Share(run, 1)], [run])
    assert bench.planner.is_idle
    assert (run.computed_tokens, run.first_token_at_s) == (12, 1.0)


def test_the_context_of_a_share_has_its_new_tokens() -> None:
    bench = Bench(chunk_tokens=6)
    bench.add(10, 2)
    seen = [[share.context_tokens for share in bench.planner.plan()]]
    bench.step()
    seen.append([share.context_tokens for share in bench.planner.plan()])
    assert seen == [[6], [10]]


def test_long_prompts_are_chunked_first_come_first_served() -> None:
    bench = Bench(chunk_tokens=16)
    a, b = bench.add(24, 3), bench.add(12, 2, first_id=500)
    assert shares(bench.step()[0]) == [(a, 16)]
    assert shares(bench.step()[0]) == [(a, 8), (b, 8)]
    assert shares(bench.step()[0]) == [(a, 1), (b, 4)]
    assert shares(bench.step()[0]) == [(a, 1), (b, 1)]
    assert bench.planner.is_idle


def test_decoding_runs_do_not_eat_the_chunk() -> None:
    bench = Bench(chunk_tokens=16)
    a = bench.add(4, 9)
    bench.step()
    b = bench.add(16, 1, first_id=500)
    assert shares(bench.step()[0]) == [(a, 1), (b, 16)]


def test_slots_bound_what_runs_at_once() -> None:
    bench = Bench(slots=1)
    a, b = bench.add(4, 1), bench.add(4, 1, first_id=500)
    assert bench.step() == ([Share(a, 4)], [a])
    assert bench.step() == ([Share(b, 4)], [b])


def test_a_run_waits_until_its_whole_need_fits() -> None:
    """4 pages: the first takes 3 of them, so the second waits for its end."""
    bench = Bench(capacity_pages=4)
    a, b = bench.add(8, 3), bench.add(8, 1, first_id=500)
    assert [shares(bench.step()[0]) for _ in range(3)] == [[(a, 8)], [(a, 1)], [(a, 1)]]
    assert shares(bench.step()[0]) == [(b, 8)]


def test_nobody_overtakes_the_first_waiting_run() -> None:
    bench = Bench(capacity_pages=4)
    bench.add(8, 2)
    large, small = bench.add(12, 4, first_id=500), bench.add(1, 1, first_id=900)
    assert all(share.run not in {large, small} for share in bench.step()[0])


def test_a_run_hits_what_was_computed_before_it() -> None:
    bench = Bench()
    bench.add(12, 1)
    bench.step()
    again = bench.add(12, 1)
    assert shares(bench.step()[0]) == [(again, 4)]
    assert again.hit_tokens == 8


def test_a_run_is_not_admitted_before_it_can_start() -> None:
    """Both share 16 tokens; the second is admitted only when the first has computed them."""
    bench = Bench(chunk_tokens=16)
    first, second = bench.add(20, 1), bench.add(20, 1)
    bench.step()
    assert shares(bench.step()[0]) == [(first, 4), (second, 4)]
    assert (first.hit_tokens, second.hit_tokens) == (0, 16)


def test_a_removed_run_frees_slot_and_pages_at_once() -> None:
    bench = Bench(slots=1, capacity_pages=3)
    gone, waiting = bench.add(8, 4), bench.add(8, 4, first_id=500)
    step = bench.planner.plan()
    bench.planner.remove(gone)
    assert bench.planner.complete(step, 1.0) == []
    assert (gone.produced_tokens, bench.kv_cache.held_pages) == (0, 0)
    assert shares(bench.step()[0]) == [(waiting, 8)]


def test_a_waiting_run_can_be_removed() -> None:
    bench = Bench()
    bench.planner.remove(bench.add(8, 4))
    assert bench.planner.is_idle


def test_a_run_without_output_ends_with_its_prefill() -> None:
    bench = Bench()
    run = bench.add(8, 0)
    assert bench.step() == ([Share(run, 8)], [run])

"""Hit predictions by worked examples; the naive model is in tests/property."""

import asyncio

import pytest

from preble.clock import ManualClock
from preble.messages import HitPrediction, PoolRecord, pack_tokens
from preble_workers.block_mapper import BlockMapper
from preble_workers.engine import PagesRemoved, PagesStored
from preble_workers.hit_predictor import EVENT_LAG_S, Forecast, HitPredictor

pytestmark = pytest.mark.anyio

POOL = PoolRecord("m", "f", vocab_size=100, context_length=512, block_size=8, page_size=2)
PAGE = 2
NOTHING = HitPrediction(0, 0)


class Bench:
    """A predictor, what it asks, and the time."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.mapper = BlockMapper(POOL, page_size=PAGE)
        self.predictor = HitPredictor(self.mapper, self.clock)

    def start(self, num_tokens: int, salt: str = "") -> Forecast:
        """A prompt that begins like all others; page i holds tokens 2i and 2i + 1."""
        pages = self.predictor.pages_of(pack_tokens(range(num_tokens)), salt)
        return self.predictor.start(pages)

    def predict(self, num_tokens: int, salt: str = "") -> HitPrediction:
        """Of a job that is gone at once."""
        forecast = self.start(num_tokens, salt)
        self.predictor.end(forecast, is_computed=False)
        return forecast.prediction

    def store(self, first: int, end: int) -> None:
        parent = first - 1 if first else None
        self.mapper.apply(PagesStored(range(first, end), parent, range(first * PAGE, end * PAGE)))


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def waits(bench: Bench, forecast: Forecast) -> bool:
    """Whether a job has to wait for another one now."""
    task = asyncio.create_task(bench.predictor.leader_computed(forecast))
    for _ in range(3):
        await asyncio.sleep(0)
    is_waiting = not task.done()
    task.cancel()
    await asyncio.wait({task})
    return is_waiting


@pytest.mark.parametrize(
    ("num_tokens", "resident_tokens"), [(0, 0), (1, 0), (2, 0), (3, 2), (8, 6), (9, 8), (20, 8)]
)
def test_held_pages_are_resident_but_for_the_last_token(
    bench: Bench, num_tokens: int, resident_tokens: int
) -> None:
    bench.store(0, 4)
    assert bench.predict(num_tokens) == HitPrediction(resident_tokens, 0)


def test_what_an_earlier_job_computes_is_expected(bench: Bench) -> None:
    bench.store(0, 1)
    assert bench.start(8).prediction == HitPrediction(2, 0)
    assert bench.start(8).prediction == HitPrediction(2, 4)
    assert bench.start(20).prediction == HitPrediction(2, 6)


def test_another_salt_shares_nothing(bench: Bench) -> None:
    bench.store(0, 4)
    bench.start(9)
    assert bench.predict(9, salt="s") == NOTHING


async def test_a_follower_waits_for_its_leaders_first_token(bench: Bench) -> None:
    leader, follower = bench.start(8), bench.start(8)
    assert (await waits(bench, leader), await waits(bench, follower)) == (False, True)
    leader.mark_computed()
    assert not await waits(bench, follower)


async def test_a_chain_goes_on_link_by_link(bench: Bench) -> None:
    first, second, third = bench.start(4), bench.start(8), bench.start(12)
    first.mark_computed()
    assert (await waits(bench, second), await waits(bench, third)) == (False, True)
    second.mark_computed()
    assert not await waits(bench, third)


@pytest.mark.parametrize("is_computed", [True, False])
async def test_the_end_of_a_leader_releases_its_followers(
    bench: Bench, *, is_computed: bool
) -> None:
    leader, follower = bench.start(8), bench.start(8)
    bench.predictor.end(leader, is_computed=is_computed)
    assert not await waits(bench, follower)


def test_what_a_failed_job_would_have_computed_is_not_expected(bench: Bench) -> None:
    bench.predictor.end(bench.start(8), is_computed=False)
    assert bench.predict(8) == NOTHING


def test_an_ended_jobs_pages_are_expected_until_its_events_are_due(bench: Bench) -> None:
    bench.predictor.end(bench.start(8), is_computed=True)
    bench.clock.advance(EVENT_LAG_S / 2)
    assert bench.predict(8) == HitPrediction(0, 6)
    bench.clock.advance(EVENT_LAG_S / 2)
    assert bench.predict(8) == NOTHING


def test_only_the_first_end_of_a_job_counts(bench: Bench) -> None:
    forecast = bench.start(8)
    bench.predictor.end(forecast, is_computed=True)
    bench.predictor.end(forecast, is_computed=False)
    assert bench.predict(8) == HitPrediction(0, 6)


def test_a_waiting_jobs_hits_are_what_is_held_now(bench: Bench) -> None:
    """What others compute counts only once it is there; a new version says that it may be."""
    pages = bench.predictor.pages_of(pack_tokens(range(9)), "")
    bench.start(9)
    version = bench.predictor.cache_version
    assert bench.predictor.held_tokens(pages) == 0
    bench.store(0, 3)
    assert bench.predictor.cache_version != version
    assert bench.predictor.held_tokens(pages) == 6
    bench.store(3, 4)
    assert bench.predictor.held_tokens(pages) == 8


def test_without_a_cache_there_are_no_hits(bench: Bench) -> None:
    predictor = HitPredictor(bench.mapper, bench.clock, has_kv_cache=False)
    pages = predictor.pages_of(pack_tokens(range(9)), "")
    bench.store(0, 4)
    predictor.start(pages)
    assert (predictor.held_tokens(pages), predictor.start(pages).prediction) == (0, NOTHING)


def test_events_turn_expected_pages_into_resident_ones(bench: Bench) -> None:
    bench.predictor.end(bench.start(8), is_computed=True)
    bench.store(0, 4)
    assert bench.predict(8) == HitPrediction(6, 0)
    bench.clock.advance(EVENT_LAG_S)
    assert bench.predict(8) == HitPrediction(6, 0)


def test_what_was_evicted_is_resident_no_more(bench: Bench) -> None:
    bench.store(0, 4)
    bench.mapper.apply(PagesRemoved([3, 2]))
    assert bench.predict(20) == HitPrediction(4, 0)


async def test_a_follower_takes_over_what_its_failed_leader_left(bench: Bench) -> None:
    leader = bench.start(4)
    bench.start(8)
    bench.predictor.end(leader, is_computed=False)
    third = bench.start(8)
    assert third.prediction == HitPrediction(0, 6)
    assert await waits(bench, third)


def test_a_job_computes_what_was_evicted_before_it_ran(bench: Bench) -> None:
    bench.store(0, 2)
    bench.start(8)
    bench.mapper.apply(PagesRemoved([1, 0]))
    assert bench.predict(8) == HitPrediction(0, 6)

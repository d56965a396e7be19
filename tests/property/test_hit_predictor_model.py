"""Hit predictions against a slow model of what an engine holds and what its jobs will compute."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from preble.clock import ManualClock
from preble.messages import HitPrediction, PoolRecord, pack_tokens
from preble_workers.block_mapper import BlockMapper
from preble_workers.engine import PageEvent, PagesRemoved, PagesStored
from preble_workers.hit_predictor import EVENT_LAG_S, Forecast, HitPredictor

PAGE = 2
POOL = PoolRecord("m", "f", 2, 64, block_size=PAGE, page_size=PAGE)

Prefix = tuple[str, tuple[int, ...]]
"""A page, named by its salt and all tokens up to its end."""

prompts = st.tuples(st.lists(st.integers(0, 1), max_size=11), st.sampled_from(["", "s"]))
picks = st.integers(0, 7)
actions = st.one_of(
    st.tuples(st.just("start"), prompts),
    st.tuples(st.just("first_token"), picks),
    st.tuples(st.just("end"), picks),
    st.tuples(st.just("fail"), picks),
    st.tuples(st.just("evict"), picks),
    st.tuples(st.just("tell"), picks),
    st.tuples(st.just("wait"), st.sampled_from([0.25, 0.5, 1.0])),
)


def prefixes_of(ids: list[int], salt: str) -> list[Prefix]:
    return [(salt, tuple(ids[:end])) for end in range(PAGE, len(ids) + 1, PAGE)]


@dataclass(eq=False)
class Job:
    """One start, as the model sees it."""

    forecast: Forecast
    pages: list[Prefix]
    leader: "Job | None"
    released: asyncio.Task[None]
    is_computed: bool = False
    ended_at_s: float | None = None


@dataclass
class Play:
    """An engine, its events on their way, and the jobs on it. Recomputes everything."""

    clock: ManualClock = field(default_factory=ManualClock)
    mapper: BlockMapper = field(default_factory=lambda: BlockMapper(POOL, page_size=PAGE))
    jobs: list[Job] = field(default_factory=list[Job])
    held: set[Prefix] = field(default_factory=set[Prefix])
    told: set[Prefix] = field(default_factory=set[Prefix])
    on_the_way: list[PageEvent] = field(default_factory=list[PageEvent])
    is_disturbed: bool = False
    """A job has failed, or pages that others count on were evicted: from then on more is
    computed than was foreseen, and predictions may fall short."""

    def __post_init__(self) -> None:
        self.predictor = HitPredictor(self.mapper, self.clock)

    @property
    def running(self) -> list[Job]:
        return [job for job in self.jobs if job.ended_at_s is None]

    def promised(self) -> dict[Prefix, Job]:
        """Pages that jobs will hold or held just now, and the first of the jobs for each."""
        since_s = self.clock.now_s() - EVENT_LAG_S
        found: dict[Prefix, Job] = {}
        for job in self.jobs:
            if job.ended_at_s is None or (job.is_computed and job.ended_at_s > since_s):
                for page in job.pages:
                    found.setdefault(page, job)
        return found

    async def start(self, ids: list[int], salt: str) -> None:
        pages = prefixes_of(ids, salt)
        most = pages[: max(0, min(len(pages), (len(ids) - 1) // PAGE))]
        resident = run_length(most, self.told)
        promised = self.promised()
        expected = run_length(most[resident:], set(promised))
        leader = promised[most[resident + expected - 1]] if expected else None
        forecast = self.predictor.start(self.predictor.pages_of(pack_tokens(ids), salt))
        exact = HitPrediction(resident * PAGE, expected * PAGE)
        if self.is_disturbed:
            said = forecast.prediction
            assert said.resident_tokens == exact.resident_tokens
            assert said.expected_tokens <= exact.expected_tokens
            assert said.expected_tokens % PAGE == 0
        else:
            assert forecast.prediction == exact
        released = asyncio.create_task(self.predictor.leader_computed(forecast))
        self.jobs.append(Job(forecast, pages, leader, released))
        await settle()

    def first_token(self, job: Job) -> None:
        """The prompt is computed: the engine holds its pages, and will say so."""
        if not job.released.done() or job.is_computed:
            return
        job.is_computed = True
        job.forecast.mark_computed()
        for page in job.pages:
            if page not in self.held:
                self.held.add(page)
                parent = parent_of(page)
                self.on_the_way.append(
                    PagesStored(
                        [hash(page)], hash(parent) if parent else None, page[1][-PAGE:], page[0]
                    )
                )

    def end(self, job: Job) -> None:
        if job.is_computed:
            job.ended_at_s = self.clock.now_s()
            self.predictor.end(job.forecast, is_computed=True)

    def fail(self, job: Job) -> None:
        job.ended_at_s = self.clock.now_s()
        self.is_disturbed = True
        self.predictor.end(job.forecast, is_computed=False)

    def evict(self, pick: int) -> None:
        """Of a leaf that no running job uses, as engines do."""
        used = {page for job in self.running if job.is_computed for page in job.pages}
        parents = {parent_of(page) for page in self.held}
        leaves = sorted(self.held - used - parents)
        if leaves:
            page = leaves[pick % len(leaves)]
            self.held.remove(page)
            self.on_the_way.append(PagesRemoved([hash(page)]))
            self.is_disturbed |= page in self.promised()

    def tell(self) -> None:
        """All events arrive."""
        for event in self.on_the_way:
            self.mapper.apply(event)
        self.on_the_way.clear()
        self.told = set(self.held)

    def wait(self, seconds: float) -> None:
        self.tell()
        self.clock.advance(seconds)

    async def act(self, name: str, what: object) -> None:
        running = self.running
        match name, what:
            case "start", _:
                await self.start(*cast("tuple[list[int], str]", what))
            case "wait", float(seconds):
                self.wait(seconds)
            case "tell", _:
                self.tell()
            case "evict", int(pick):
                self.evict(pick)
            case "first_token" | "end" | "fail", int(pick) if running:
                getattr(self, name)(running[pick % len(running)])
            case _:
                pass
        await settle()
        self.check_waiting()

    def check_waiting(self) -> None:
        """A job waits for the one whose pages it is promised, and for no other."""
        for job in self.running:
            leader = job.leader
            if not self.is_disturbed:
                is_free = leader is None or leader.is_computed
                assert job.released.done() == is_free
            elif leader is None:
                assert job.released.done()

    async def finish(self) -> None:
        """Whoever was started first waits for nobody: so there is no cycle, and all end."""
        for job in self.running:
            await settle()
            assert job.released.done()
            self.first_token(job)
            self.end(job)
        self.wait(EVENT_LAG_S)
        last = self.predictor.start(self.predictor.pages_of(pack_tokens([]), ""))
        self.predictor.end(last, is_computed=False)
        remembered = vars(self.predictor)
        assert not remembered["_computing"]
        assert not remembered["_ended"]


def run_length(pages: list[Prefix], known: set[Prefix]) -> int:
    return next((at for at, page in enumerate(pages) if page not in known), len(pages))


def parent_of(page: Prefix) -> Prefix | None:
    salt, ids = page
    return (salt, ids[:-PAGE]) if len(ids) > PAGE else None


async def settle() -> None:
    """Let whoever was released go on."""
    for _ in range(3):
        await asyncio.sleep(0)


@settings(max_examples=150, deadline=None)
@given(st.lists(actions, max_size=30))
def test_predictions_are_what_the_engine_will_find(moves: list[tuple[str, object]]) -> None:
    async def play() -> None:
        board = Play()
        for name, what in moves:
            await board.act(name, what)
        await board.finish()

    asyncio.run(play())


@settings(max_examples=100, deadline=None)
@given(st.lists(prompts, max_size=8), st.lists(picks, max_size=8))
def test_many_starts_at_once_wait_for_each_other_in_turn(
    starts: list[tuple[list[int], str]], first_tokens: list[int]
) -> None:
    """Nothing fails and nothing is evicted: each prediction is exact."""

    async def play() -> None:
        board = Play()
        for ids, salt in starts:
            await board.act("start", (ids, salt))
        for pick in first_tokens:
            await board.act("first_token", pick)
        await board.finish()

    asyncio.run(play())

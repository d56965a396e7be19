"""The simulated engine against a slow one that takes every step by itself."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preble.cost_model import StepRequest, load_cost_model
from preble.messages import BlocksRemoved, BlocksStored, pack_keys, unpack_keys
from preble.simulator.instance_model import InstanceModel
from preble.simulator.run import EngineSettings, Run
from preble.simulator.workload.request import TimedRequest

BLOCK = 4
COST_MODEL = load_cost_model("mistral_7b_a6000")


@dataclass(eq=False)
class NaiveRun:
    """A request, its KV tokens, and the blocks it has pinned."""

    request: TimedRequest
    keys: list[int]
    hits: int = 0
    kv: int = 0
    held: int = 0
    produced: int = 0
    reached: int = 0
    first_token_at_s: float = 0.0
    ended_at_s: float = 0.0

    @property
    def prefill_end(self) -> int:
        return self.request.prompt_tokens + self.produced

    @property
    def left_to_decode(self) -> int:
        return self.request.output_tokens - self.produced - 1


@dataclass
class NaiveEngine:
    """Recomputes everything whenever it is asked."""

    rules: EngineSettings
    waiting: list[NaiveRun] = field(default_factory=list[NaiveRun])
    running: list[NaiveRun] = field(default_factory=list[NaiveRun])
    decoding: list[NaiveRun] = field(default_factory=list[NaiveRun])
    released_at: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    parents: dict[int, int | None] = field(default_factory=dict[int, int | None])
    releases: int = 0
    retractions: int = 0
    shares: list[tuple[NaiveRun, int]] = field(default_factory=list[tuple[NaiveRun, int]])
    has_decodes: bool = False

    def pinned(self) -> set[int]:
        return {key for run in self.running for key in run.keys[: run.held]}

    def private(self) -> int:
        under_way = sum(tokens for _, tokens in self.shares)
        return sum(run.kv - run.held * BLOCK for run in self.running) + under_way

    def available(self) -> int:
        return self.rules.kv_capacity_tokens - len(self.pinned()) * BLOCK - self.private()

    def evict(self) -> None:
        while len(self.released_at) * BLOCK + self.private() > self.rules.kv_capacity_tokens:
            parents = {self.parents[key] for key in self.released_at}
            pinned = self.pinned()
            leaves = [key for key in self.released_at if key not in parents | pinned]
            del self.released_at[min(leaves, key=lambda key: self.released_at[key])]

    def hits_of(self, run: NaiveRun) -> int:
        most = (run.prefill_end - 1) // BLOCK
        held = [key in self.released_at for key in run.keys[:most]]
        return [*held, False].index(False)

    def step_s(self) -> float:
        """Plan a step. Returns: its seconds; 0 if there is nothing to do."""
        self.shares, self.has_decodes = [], False
        self.plan()
        while not (self.shares or self.has_decodes) and self.running:
            self.retract()
            self.plan()
        requests = [StepRequest(tokens, run.kv + tokens) for run, tokens in self.shares]
        if self.has_decodes:
            requests += [StepRequest(1, run.kv) for run in self.decoding]
        return COST_MODEL.step_s(requests)

    def plan(self) -> None:
        if self.rules.steps == "mixed":
            self.plan_decodes()
            self.plan_prefills()
        else:
            self.plan_prefills()
            if not self.shares:
                self.plan_decodes()

    def plan_decodes(self) -> None:
        while self.available() < len(self.decoding):
            self.retract()
        for run in self.decoding:
            run.kv += 1
        self.evict()
        self.has_decodes = bool(self.decoding)

    def plan_prefills(self) -> None:
        budget = self.rules.chunk_tokens
        for run in [run for run in self.running if run not in self.decoding]:
            budget -= self.share(run, budget)
        while budget > 0 and (admitted := self.admit()):
            budget -= self.share(admitted, budget)

    def share(self, run: NaiveRun, budget: int) -> int:
        tokens = min(budget, run.prefill_end - run.kv, self.available())
        if tokens > 0:
            self.shares.append((run, tokens))
            self.evict()
        return max(tokens, 0)

    def admit(self) -> NaiveRun | None:
        if not self.waiting or len(self.running) >= self.rules.slots:
            return None
        run = self.waiting[0]
        hits = self.hits_of(run)
        under_way = sum(tokens for _, tokens in self.shares)
        prefills = [each for each in self.running if each not in self.decoding]
        missing = sum(each.prefill_end - each.kv for each in prefills) - under_way
        outputs = run.left_to_decode + sum(each.left_to_decode for each in prefills)
        # A decoding run's next token is in its KV already, if it decodes in this step.
        outputs += sum(each.left_to_decode for each in self.decoding)
        outputs += 0 if self.has_decodes else len(self.decoding)
        newly_pinned = len(set(run.keys[:hits]) - self.pinned()) * BLOCK
        need = newly_pinned + run.prefill_end - hits * BLOCK + missing
        if need + -(-outputs * self.rules.output_reserve // 1) > self.available():
            return None
        self.waiting.remove(run)
        self.running.append(run)
        run.held, run.kv = hits, hits * BLOCK
        run.hits += max(0, run.kv - run.reached)
        run.reached = max(run.reached, run.kv)
        return run

    def retract(self) -> None:
        run = self.running[-1]
        run.reached = max(run.reached, run.kv + (run in self.decoding))
        self.release(run)
        self.waiting.insert(0, run)
        self.retractions += 1

    def release(self, run: NaiveRun) -> None:
        self.releases += 1
        before = self.pinned()
        self.running.remove(run)
        if run in self.decoding:
            self.decoding.remove(run)
        for key in before - self.pinned():
            self.released_at[key] = (self.releases, -run.keys.index(key))
        run.held = run.kv = 0

    def complete(self, now_s: float) -> None:
        ended: list[NaiveRun] = []
        if self.has_decodes:
            for run in self.decoding:
                run.produced += 1
            ended = [run for run in self.decoding if run.left_to_decode < 0]
        shares, self.shares = self.shares, []
        for run, tokens in shares:
            self.compute(run, tokens, now_s)
            if run in self.decoding and run.left_to_decode < 0:
                ended.append(run)
        for run in ended:
            run.ended_at_s = now_s
            self.release(run)

    def compute(self, run: NaiveRun, tokens: int, now_s: float) -> None:
        run.kv += tokens
        run.reached = max(run.reached, run.kv)
        while run.held < len(run.keys) and (run.held + 1) * BLOCK <= run.kv:
            key = run.keys[run.held]
            self.released_at.setdefault(key, (0, 0))
            self.parents[key] = run.keys[run.held - 1] if run.held else None
            run.held += 1
        if run.kv == run.prefill_end:
            run.first_token_at_s = run.first_token_at_s or now_s
            run.produced += 1
            self.decoding.append(run)


def step_by_step(requests: list[TimedRequest], rules: EngineSettings) -> NaiveEngine:
    engine = NaiveEngine(rules)
    runs = [NaiveRun(request, unpack_keys(request.block_keys)) for request in requests]
    now_s, come = 0.0, 0
    while True:
        while come < len(runs) and runs[come].request.at_s <= now_s:
            engine.waiting.append(runs[come])
            come += 1
        step_s = engine.step_s()
        if step_s:
            now_s += step_s
            engine.complete(now_s)
        elif come < len(runs):
            now_s = runs[come].request.at_s
        else:
            engine.waiting = runs
            return engine


def in_stretches(requests: list[TimedRequest], rules: EngineSettings) -> tuple[list[Run], int]:
    engine = InstanceModel(rules, COST_MODEL, block_size=BLOCK, speed=1.0)
    told: dict[int, int | None] = {}
    ended: list[Run] = []
    for number, request in enumerate(requests):
        while engine.end_s < request.at_s:
            ended += advance(engine, told)
        engine.submit(Run(number, request), request.at_s)
    while not engine.is_idle:
        ended += advance(engine, told)
    assert engine.num_waiting == engine.num_running == 0
    return sorted(ended, key=lambda run: run.number), engine.retractions


def advance(engine: InstanceModel, told: dict[int, int | None]) -> list[Run]:
    """One stretch; what is told of blocks is prefix-closed after each event."""
    ended = engine.advance()
    for event in engine.take_events():
        match event:
            case BlocksStored(packed, parent):
                for key in unpack_keys(packed):
                    assert key not in told
                    assert parent is None or parent in told
                    told[key] = parent
                    parent = key  # the next block follows this one
            case BlocksRemoved(packed):
                for key in unpack_keys(packed):
                    del told[key]
                    assert key not in told.values()
            case _:
                raise AssertionError(event)
    used_tokens = len(told) * BLOCK + engine.kv.private_tokens
    assert used_tokens + engine.kv.free_tokens == engine.kv.capacity_tokens
    assert engine.kv.free_tokens >= 0
    return ended


def key_of(path: tuple[int, ...]) -> int:
    """A number of its own for each prefix."""
    return int("1" + "".join(map(str, path)), 2)


paths = st.lists(st.integers(0, 1), max_size=5).map(tuple)
rules = st.builds(
    EngineSettings,
    cost_model=st.just("mistral_7b_a6000"),
    kv_capacity_tokens=st.integers(44, 70),
    chunk_tokens=st.integers(1, 60),
    slots=st.integers(1, 5),
    steps=st.sampled_from(["mixed", "prefill_first"]),
    output_reserve=st.sampled_from([0.0, 0.5, 1.0]),
)


@st.composite
def requests(draw: st.DrawFn) -> list[TimedRequest]:
    at_s, drawn = 0.0, list[TimedRequest]()
    for _ in range(draw(st.integers(1, 8))):
        at_s += draw(st.sampled_from([0, 0, 0, 1, 5, 20])) * 0.0173205
        path = draw(paths)
        keys = [key_of(path[: end + 1]) for end in range(len(path))]
        prompt_tokens = max(1, len(path) * BLOCK + draw(st.integers(0, BLOCK - 1)))
        drawn.append(TimedRequest(at_s, prompt_tokens, draw(st.integers(1, 20)), pack_keys(keys)))
    return drawn


@given(requests(), rules)
@settings(max_examples=300, deadline=None)
def test_stretches_are_what_single_steps_come_to(
    requests: list[TimedRequest], rules: EngineSettings
) -> None:
    naive = step_by_step(requests, rules)
    runs, retractions = in_stretches(requests, rules)
    assert retractions == naive.retractions
    if rules.output_reserve == 1:
        assert retractions == 0
    for run, slow in zip(runs, naive.waiting, strict=True):
        assert run.first_token_at_s == pytest.approx(slow.first_token_at_s, rel=1e-9)
        assert run.ended_at_s == pytest.approx(slow.ended_at_s, rel=1e-9)
        assert run.hit_tokens == slow.hits

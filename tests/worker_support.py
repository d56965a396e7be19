"""A worker on a memory broker, with an engine that does as each test says."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from msgspec.structs import replace
from support import assignment, submission

from preble.broker.memory import MemoryBroker
from preble.clock import SystemClock
from preble.config import Settings
from preble.errors import EngineError, EngineUnavailable
from preble.messages import (
    InstanceRecord,
    JobId,
    JobState,
    JobView,
    Submission,
    Tokens,
    pack_tokens,
)
from preble.metrics import WorkerMetrics
from preble.tokenizer import load_tokenizer
from preble.tracing import NoTracing
from preble_workers.engine import Completion, EngineInfo, EngineRequest, OnTokens, PageEvent
from preble_workers.recorder import Recorder
from preble_workers.worker import Worker

TOKENIZER = load_tokenizer("embedded")
COMPLETION = Completion((5, 6), None, "length", cached_tokens=3, ttft_s=0.01)
Answer = Callable[[EngineRequest], Awaitable[Completion]]


class ScriptedEngine:
    """Answers each request as told; says that it is back only when it is."""

    def __init__(self, answer: Answer, *, slots: int = 4, kv_tokens: int = 8192) -> None:
        self.answer = answer
        self.info = EngineInfo(slots, kv_tokens, page_size=16, context_length=8192)
        self.is_up = True
        self.steps = 0
        self.running = 0
        self.most_running = 0
        self.starts = 0
        self.flushes = 0
        self.events: asyncio.Queue[list[PageEvent] | EngineError] = asyncio.Queue()
        self.died = asyncio.Event()

    async def start(self) -> EngineInfo:
        self.starts += 1
        if not self.is_up:
            raise EngineUnavailable("still down")
        return self.info

    async def generate(self, request: EngineRequest, on_tokens: OnTokens) -> Completion:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            completion = await self.answer(request)
            on_tokens(completion.output_ids, completion.text, completion.logprobs)
            await asyncio.sleep(0)  # as an engine, which ends a request after its last step
            return completion
        finally:
            self.running -= 1

    async def page_events(self) -> AsyncGenerator[list[PageEvent]]:
        yield []
        while True:
            batch = await self.events.get()
            if isinstance(batch, EngineError):
                raise batch
            yield batch

    async def is_busy(self) -> bool:
        """Whether it runs a job."""
        return self.running > 0

    async def has_read(self) -> bool:
        """Whether all events were taken in."""
        return self.events.empty()

    async def flush(self) -> None:
        self.flushes += 1

    async def lost(self) -> None:
        await self.died.wait()

    async def close(self) -> None:
        self.is_up = False


async def at_once(_: EngineRequest) -> Completion:
    return COMPLETION


def silent_recorder() -> Recorder:
    """Of a worker whose page nobody reads."""
    return Recorder(WorkerMetrics(None), NoTracing(), SystemClock(), model="m")


@asynccontextmanager
async def working(
    engine: ScriptedEngine, broker: MemoryBroker, settings: Settings | None = None,
    recorder: Recorder | None = None,
) -> AsyncGenerator[asyncio.Event]:  # fmt: skip
    """A worker that has registered; drained at the end, unless the test has drained it."""
    draining = asyncio.Event()
    worker = Worker(
        broker, engine, settings or Settings(), TOKENIZER, SystemClock(),
        recorder or silent_recorder(),
    )  # fmt: skip
    running = asyncio.create_task(worker.run(draining))
    await until(lambda: has_instance(broker))
    yield draining
    draining.set()
    await running


async def has_instance(broker: MemoryBroker) -> bool:
    return (await broker.counts.stats()).instances == 1


async def has_left(broker: MemoryBroker) -> bool:
    token = await broker.lead("test", ttl_s=600)
    assert token
    await broker.reap(token, limit=100)
    return not await has_instance(broker)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Let the other tasks run until something holds."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110  # no event tells it
            await asyncio.sleep(0)


async def place(
    broker: MemoryBroker, *names: str, prompt_tokens: int = 10, is_shared: bool = False
) -> None:
    """Jobs on the worker's queue, all with the same prompt or with prompts that share nothing."""
    jobs = [submission(name, prompt_tokens=prompt_tokens) for name in names]
    if not is_shared:
        jobs = [replace(each, prompt=prompt_of(each)) for each in jobs]
    await broker.admit([jobs])
    await place_waiting(broker)


def prompt_of(job: Submission) -> Tokens:
    """One of its length that no other name has."""
    first = int.from_bytes(job.job_id.encode()[-2:], "little")
    return pack_tokens([first, *range(1, job.spec.prompt_tokens)])


async def place_waiting(broker: MemoryBroker) -> None:
    token = await broker.lead("test", ttl_s=600)
    assert token
    await broker.reap(token, limit=100)
    waiting = await broker.peek(100)
    await broker.route(token, [(job.ingress, assignment(job)) for job in waiting])


async def job(broker: MemoryBroker, name: str) -> JobView:
    view = await broker.view(JobId(name))
    assert view
    return view


async def ended(broker: MemoryBroker, *names: str) -> None:
    async def all_ended() -> bool:
        return all([(await job(broker, name)).state.is_terminal for name in names])

    await until(all_ended)


async def for_ever(_: EngineRequest) -> Completion:
    await asyncio.Event().wait()
    return COMPLETION


async def the_record(broker: MemoryBroker) -> InstanceRecord:
    (record,) = (await broker.bulletin.load_pool()).instances
    return record


async def next_life(broker: MemoryBroker, earlier: InstanceRecord) -> None:
    """Wait until the instance has begun a new life."""

    async def has_begun() -> bool:
        records = (await broker.bulletin.load_pool()).instances
        return bool(records) and records[0].epoch != earlier.epoch

    await until(has_begun)


async def is_running(broker: MemoryBroker, name: str) -> bool:
    return (await job(broker, name)).state is JobState.RUNNING

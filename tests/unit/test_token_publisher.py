"""Tokens on their way to those who follow jobs: gathered, in order, and never waited for."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from support import submission
from worker_support import TOKENIZER, ScriptedEngine, ended, place_waiting, working

from preble.broker.memory import MemoryBroker
from preble.broker.streams import LOG_START, InboxNews, LogPage
from preble.errors import BrokerError, BrokerUnavailable
from preble.messages import (
    ClaimedJob,
    ExecutionId,
    JobId,
    TokenDelta,
    TokenLogprob,
    pack_tokens,
)
from preble_workers import token_publisher
from preble_workers.engine import Completion, EngineRequest
from preble_workers.token_publisher import TokenPublisher, TokenStream

pytestmark = pytest.mark.anyio

INBOX = "api1"
WITHIN_S = 20.0


class HeldStreams:
    """Streams that publish only while they are let, and fail as often as told."""

    def __init__(self) -> None:
        self.published: asyncio.Queue[dict[str, list[TokenDelta]]] = asyncio.Queue()
        self.logged: list[TokenDelta] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.failures: list[BrokerError] = []
        self.calls = 0

    async def publish(
        self, by_inbox: Mapping[str, Sequence[TokenDelta]], logged: Sequence[TokenDelta]
    ) -> None:
        self.calls += 1
        await self.may_go_on.wait()
        if self.failures:
            raise self.failures.pop()
        self.logged += logged
        await self.published.put({inbox: list(deltas) for inbox, deltas in by_inbox.items()})

    async def listen(self, inbox: str, *, timeout_s: float) -> InboxNews:
        raise NotImplementedError

    async def read_log(self, job_id: JobId, after: str) -> LogPage:
        raise NotImplementedError


@asynccontextmanager
async def publishing(streams: HeldStreams) -> AsyncGenerator[TokenPublisher]:
    publisher = TokenPublisher(streams, TOKENIZER.decode)
    running = asyncio.create_task(publisher.run())
    async with asyncio.timeout(WITHIN_S):
        yield publisher
    running.cancel()
    await asyncio.wait({running})


def claimed(
    name: str, *, inbox: str = INBOX, is_streamed: bool = True, is_logged: bool = False,
    stop: tuple[str, ...] = (),
) -> ClaimedJob:  # fmt: skip
    spec = submission(name).spec
    spec = replace(
        spec, inbox=inbox, is_streamed=is_streamed, is_logged=is_logged,
        sampling=replace(spec.sampling, stop=stop),
    )  # fmt: skip
    return ClaimedJob(JobId(name), ExecutionId("e-1"), 1, spec, pack_tokens([1]))


def begun(publisher: TokenPublisher, job: ClaimedJob) -> TokenStream:
    stream = publisher.begin(job)
    assert stream
    return stream


def ids_of(text: str) -> list[int]:
    return TOKENIZER.encode([text], add_special_tokens=False)[0]


async def test_what_one_step_makes_goes_out_as_one_entry_for_each_inbox() -> None:
    streams = HeldStreams()
    async with publishing(streams) as publisher:
        one = begun(publisher, claimed("a"))
        other = begun(publisher, claimed("b"))
        third = begun(publisher, claimed("c", inbox="api2"))
        for stream in (one, other, third):
            stream.add([5], None, ())
        entry = await streams.published.get()
    assert {inbox: [each.job_id for each in deltas] for inbox, deltas in entry.items()} == {
        INBOX: ["a", "b"], "api2": ["c"],
    }  # fmt: skip


async def test_what_comes_while_a_publish_is_under_way_goes_out_together_next() -> None:
    streams = HeldStreams()
    ids = ids_of("all that gathers")
    async with publishing(streams) as publisher:
        streams.may_go_on.clear()
        stream = begun(publisher, claimed("a"))
        stream.add(ids[:1], None, ())
        while not streams.calls:  # noqa: ASYNC110  # see support.eventually
            await asyncio.sleep(0)
        for token in ids[1:]:
            stream.add([token], None, ())
        streams.may_go_on.set()
        first, second = await streams.published.get(), await streams.published.get()
    [one], [other] = first[INBOX], second[INBOX]
    assert (one.token_at, one.char_at, one.output_ids) == (0, 0, tuple(ids[:1]))
    assert (other.token_at, other.char_at) == (1, len(one.text))
    assert one.text + other.text == "all that gathers"
    assert streams.calls == 2


async def test_a_delta_carries_the_logprobs_of_its_own_tokens() -> None:
    streams = HeldStreams()
    told = [TokenLogprob(-1.0, ((7, -0.5),)), TokenLogprob(-2.0), TokenLogprob(-3.0)]
    async with publishing(streams) as publisher:
        streams.may_go_on.clear()
        stream = begun(publisher, claimed("a", stop=("END",)))
        stream.add([5], "E", told[:1])
        while not streams.calls:  # noqa: ASYNC110  # see support.eventually
            await asyncio.sleep(0)
        stream.add([6], "N", told[1:2])
        stream.add([7], "D", told[2:])
        streams.may_go_on.set()
        first, second = await streams.published.get(), await streams.published.get()
    [one], [other] = first[INBOX], second[INBOX]
    assert (one.output_ids, one.text, one.logprobs) == ((5,), "", tuple(told[:1]))
    assert (other.output_ids, other.text, other.logprobs) == ((6, 7), "", tuple(told[1:]))


async def test_a_queue_that_is_away_loses_nothing() -> None:
    streams = HeldStreams()
    streams.failures = [BrokerUnavailable("redis is gone")] * 2
    async with publishing(streams) as publisher:
        begun(publisher, claimed("a")).add([5, 6], None, ())
        entry = await streams.published.get()
    assert entry[INBOX][0].output_ids == (5, 6)


async def test_what_redis_refuses_ends_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the stream goes on after the gap."""
    monkeypatch.setattr(token_publisher, "LONGEST_PAUSE_S", 0.0)
    streams = HeldStreams()
    streams.failures = [BrokerError("refused")]
    async with publishing(streams) as publisher:
        stream = begun(publisher, claimed("a"))
        stream.add([5], None, ())
        while streams.failures:  # noqa: ASYNC110  # see support.eventually
            await asyncio.sleep(0)
        stream.add([6], None, ())
        [delta] = (await streams.published.get())[INBOX]
    assert (delta.token_at, delta.output_ids) == (1, (6,))


async def test_an_engines_own_text_is_taken_as_it_is() -> None:
    streams = HeldStreams()
    async with publishing(streams) as publisher:
        begun(publisher, claimed("a")).add([5], "its own", ())
        [delta] = (await streams.published.get())[INBOX]
    assert (delta.output_ids, delta.text) == ((5,), "its own")


@pytest.mark.parametrize("speaks_text", [True, False])
async def test_what_may_begin_a_stop_string_is_held_back(*, speaks_text: bool) -> None:
    streams = HeldStreams()
    async with publishing(streams) as publisher:
        stream = begun(publisher, claimed("a", stop=("END",)))
        stream.add(ids_of("so EN"), "so EN" if speaks_text else None, ())
        [first] = (await streams.published.get())[INBOX]
        stream.add(ids_of("tEND"), "tEND" if speaks_text else None, ())
        [second] = (await streams.published.get())[INBOX]
    assert (first.text, second.text, second.char_at) == ("so ", "ENt", 3)


async def test_a_log_gets_the_same_whether_or_not_anyone_reads_along() -> None:
    streams = HeldStreams()
    async with publishing(streams) as publisher:
        begun(publisher, claimed("a", is_logged=True)).add([5], None, ())
        both = await streams.published.get()
        begun(publisher, claimed("b", inbox="", is_logged=True)).add([5], None, ())
        assert await streams.published.get() == {}
    assert [each.job_id for each in streams.logged] == ["a", "b"]
    assert both[INBOX] == streams.logged[:1]


@pytest.mark.parametrize(
    "job", [claimed("a", inbox=""), claimed("a", is_streamed=False)], ids=["no inbox", "ends only"]
)
async def test_of_a_job_that_nobody_follows_nothing_is_told(job: ClaimedJob) -> None:
    async with publishing(HeldStreams()) as publisher:
        assert publisher.begin(job) is None


async def test_what_has_ended_is_told_by_its_result() -> None:
    streams = HeldStreams()
    async with publishing(streams) as publisher:
        gone = begun(publisher, claimed("gone"))
        gone.add([5], None, ())
        publisher.end(gone)
        begun(publisher, claimed("b")).add([5], None, ())
        assert [each.job_id for each in (await streams.published.get())[INBOX]] == ["b"]


async def test_a_worker_tells_the_tokens_of_the_jobs_that_are_followed() -> None:
    asked: list[tuple[str, bool]] = []
    told = (TokenLogprob(-1.0), TokenLogprob(-2.0))
    broker = MemoryBroker()

    async def answer(request: EngineRequest) -> Completion:
        asked.append((request.job_id, request.is_streamed))
        return Completion((5, 6), None, "length", 0, 0.0, told)

    engine = ScriptedEngine(answer)
    await broker.streams.listen(INBOX, timeout_s=0)
    async with working(engine, broker):
        followed = submission("followed")
        spec = replace(followed.spec, inbox=INBOX, is_streamed=True, is_logged=True)
        await broker.admit([[replace(followed, spec=spec), submission("alone")]])
        await place_waiting(broker)
        await ended(broker, "followed", "alone")
        news = await broker.streams.listen(INBOX, timeout_s=WITHIN_S)
        log = await broker.streams.read_log(JobId("followed"), LOG_START)
    assert sorted(asked) == [("alone", False), ("followed", True)]
    view = await broker.view(JobId("alone"))
    assert [(each.output_ids, each.logprobs) for each in news.deltas] == [((5, 6), told)]
    assert view
    assert view.result
    assert view.result.logprobs == told
    assert log.deltas == news.deltas
    assert news.ended == ("followed",)

"""Following jobs: their ends and tokens as they come, and what is done where nothing comes."""

import asyncio
from contextlib import aclosing

import pytest
from msgspec.structs import replace
from starlette.requests import ClientDisconnect
from stream_support import (
    HandWorker,
    all_of,
    ids_of,
    listening,
    new_job,
    next_text,
    texts,
    view_of,
)

from preble.broker.memory import MemoryBroker
from preble.messages import JobId, JobState, JobView
from preble_api import inbox, waits
from preble_api.errors import HttpError
from preble_api.waits import Piece

pytestmark = pytest.mark.anyio

A = JobId("a")


class CountingBroker(MemoryBroker):
    """A queue that counts how often it is asked for a job."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    async def view(self, job_id: JobId) -> JobView | None:
        self.looks += 1
        return await super().view(job_id)


async def test_an_end_is_heard_of_and_looked_at_once() -> None:
    broker = CountingBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        [job] = await worker.run(api.followed(new_job()))
        ending = asyncio.create_task(api.ended(A))
        await asyncio.sleep(0)
        assert broker.looks == 0, "a job that was just made has not ended"
        await worker.end(job, "hello")
        view = await ending
    assert (view.state, broker.looks) == (JobState.COMPLETED, 1)


async def test_an_end_before_the_wait_is_heard_of_too() -> None:
    broker = CountingBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        [job] = await worker.run(api.followed(new_job()))
        await worker.end(job, "hello")
        for _ in range(5):
            await asyncio.sleep(0)
        view = await api.ended(A)
    assert (view.state, broker.looks) == (JobState.COMPLETED, 1)


@pytest.mark.parametrize("is_of_another_api", [True, False])
async def test_the_end_of_a_job_that_tells_nobody_here_is_found(*, is_of_another_api: bool) -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api, listening(broker) as other:
        made = other.followed(new_job()) if is_of_another_api else new_job()
        [job] = await worker.run(made)
        ending = asyncio.create_task(api.ended(A))
        await worker.end(job, "hello")
        assert (await ending).state is JobState.COMPLETED


async def test_a_request_that_is_repeated_elsewhere_finds_the_end() -> None:
    """The job tells the api that took it first."""
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api, listening(broker) as other:
        [job] = await worker.run(other.followed(new_job(fingerprint="f")))
        await broker.admit([[api.followed(new_job(fingerprint="f"))]])
        endings = [asyncio.create_task(each.ended(A)) for each in (api, other)]
        await worker.end(job, "hello")
        assert [view.state for view in await asyncio.gather(*endings)] == ["completed"] * 2


async def test_pieces_come_as_they_are_made_and_make_the_result() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        [job] = await worker.run(api.followed(new_job(), is_streamed=True))
        async with aclosing(api.pieces(A)) as pieces:
            await worker.tell(job, "hel")
            assert await anext(pieces) == Piece("hel", ids_of("hel"))
            await worker.tell(job, "lo", at=3)
            assert await anext(pieces) == Piece("lo", ids_of("lo"))
            await worker.end(job, "hello world")
            assert await anext(pieces) == Piece(" world", ids_of(" world"))
            assert await anext(pieces) == await view_of(broker)


async def test_a_client_that_reads_nothing_for_long_holds_nobody_up() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        slow, quick = await worker.run(
            *(api.followed(new_job(name), is_streamed=True) for name in ("slow", "quick"))
        )
        async with aclosing(api.pieces(slow.job_id)) as slow_pieces:
            await worker.tell(slow, "0")
            assert await anext(slow_pieces)
            for at in range(1, 500):
                await worker.tell(slow, "x", at=at)
            await worker.tell(quick, "hello")
            async with aclosing(api.pieces(quick.job_id)) as quick_pieces:
                assert await anext(quick_pieces) == Piece("hello", ids_of("hello"))
            assert await anext(slow_pieces) == Piece("x" * 499, ids_of("x" * 499))


async def test_of_a_job_that_streams_nothing_all_comes_at_its_end() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        [job] = await worker.run(api.followed(new_job()))
        pieces = asyncio.create_task(all_of(api.pieces(A)))
        await worker.end(job, "hello")
        assert await pieces == [Piece("hello", ids_of("hello")), await view_of(broker)]


async def test_a_failed_job_ends_its_stream() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        [job] = await worker.run(api.followed(new_job(), is_streamed=True))
        await worker.tell(job, "hel")
        pieces = asyncio.create_task(all_of(api.pieces(A)))
        await worker.fail(job)
        *said, view = await pieces
    assert isinstance(view, JobView)
    assert view.state is JobState.FAILED
    assert "hel".startswith(texts(said))


async def test_a_silent_stream_shows_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "KEEP_ALIVE_S", 0.0)
    broker = MemoryBroker()
    async with listening(broker) as api:
        await HandWorker(broker).run(api.followed(new_job(), is_streamed=True))
        async with aclosing(api.pieces(A)) as pieces:
            assert await anext(pieces) is None
            assert await anext(pieces) is None


async def test_a_second_execution_that_says_the_same_goes_on_seamlessly() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        [job] = await worker.run(api.followed(new_job(), is_streamed=True))
        async with aclosing(api.pieces(A)) as pieces:
            await worker.tell(job, "hello")
            assert texts([await anext(pieces)]) == "hello"
            again = await worker.lose(job)
            await worker.tell(again, "hello wor")
            assert texts([await anext(pieces)]) == " wor"
            await worker.end(again, "hello world")
            assert texts(await all_of(pieces)) == "ld"


async def test_a_second_execution_that_says_something_else_ends_the_stream() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        [job] = await worker.run(api.followed(new_job(), is_streamed=True))
        async with aclosing(api.pieces(A)) as pieces:
            await worker.tell(job, "hello")
            await anext(pieces)
            again = await worker.lose(job)
            await worker.tell(again, "help")
            with pytest.raises(HttpError, match="goes on, ask for it at /v1/jobs/a") as raised:
                await anext(pieces)
        assert (raised.value.status, raised.value.code) == (500, "stream_diverged")
        assert (await view_of(broker)).state is JobState.RUNNING


async def test_a_result_that_says_something_else_is_no_silent_mixture() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        [job] = await worker.run(api.followed(new_job(), is_streamed=True))
        async with aclosing(api.pieces(A)) as pieces:
            await worker.tell(job, "hello")
            await anext(pieces)
            await worker.end(await worker.lose(job), "help")
            with pytest.raises(HttpError, match="says something else"):
                await anext(pieces)


async def test_what_was_lost_on_the_way_comes_with_the_result() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        [job] = await worker.run(api.followed(new_job(), is_streamed=True))
        async with aclosing(api.pieces(A)) as pieces:
            await worker.tell(job, "hel")
            await anext(pieces)
            await worker.tell(job, "world", at=6)
            await worker.end(job, "hello world")
            assert texts(await all_of(pieces)) == "lo world"


async def test_a_logged_job_is_followed_from_another_api_and_from_its_beginning() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api, listening(broker) as other:
        made = other.followed(new_job(), is_streamed=True, is_logged=True)
        [job] = await worker.run(made)
        await worker.tell(job, "hel")
        async with aclosing(api.pieces(A)) as pieces:
            assert await next_text(pieces, 3) == "hel"
            await worker.tell(job, "lo", at=3)
            assert await next_text(pieces, 2) == "lo"
            await worker.end(job, "hello")
            assert texts(await all_of(pieces)) == ""


async def test_two_readers_of_one_job_both_get_all() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        [job] = await worker.run(api.followed(new_job(), is_streamed=True))
        readers = [asyncio.create_task(all_of(api.pieces(A))) for _ in range(2)]
        for at, part in enumerate("hello"):
            await worker.tell(job, part, at=at)
            await asyncio.sleep(0)
        await worker.end(job, "hello")
        assert [texts(said) for said in await asyncio.gather(*readers)] == ["hello"] * 2


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_job_goes_with_its_client_only_if_asked(*, cancels: bool) -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        [job] = await worker.run(api.followed(new_job(), is_streamed=True))
        pieces = api.pieces(A, cancel_if_gone=cancels)
        await worker.tell(job, "hel")
        await anext(pieces)
        await pieces.aclose()
        await asyncio.sleep(0)
        state = (await view_of(broker)).state
    assert state is (JobState.CANCELLED if cancels else JobState.RUNNING)


async def test_reading_to_the_end_cancels_nothing() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        [job] = await worker.run(api.followed(new_job(), is_streamed=True))
        reading = asyncio.create_task(all_of(api.pieces(A, cancel_if_gone=True)))
        await worker.end(job, "hello")
        assert texts(await reading) == "hello"
        assert (await view_of(broker)).state is JobState.COMPLETED


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_wait_whose_client_leaves_cancels_only_if_asked(*, cancels: bool) -> None:
    async def is_gone() -> bool:
        return True

    broker = MemoryBroker()
    async with listening(broker) as api:
        await HandWorker(broker).run(api.followed(new_job()))
        with pytest.raises(ClientDisconnect):
            await api.ended(A, is_gone=is_gone, cancel_if_gone=cancels)
        await asyncio.sleep(0)
        state = (await view_of(broker)).state
    assert state is (JobState.CANCELLED if cancels else JobState.RUNNING)


async def test_streams_end_when_the_api_is_stopped() -> None:
    broker = MemoryBroker()
    async with listening(broker) as api:
        await HandWorker(broker).run(api.followed(new_job(), is_streamed=True))
        reading = asyncio.create_task(all_of(api.pieces(A)))
        await asyncio.sleep(0)
        api.stop()
        with pytest.raises(HttpError, match="being stopped"):
            await reading


async def test_jobs_that_nobody_comes_for_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is expected is bounded; the end of what was forgotten is found by asking."""
    monkeypatch.setattr(inbox, "MOST_EXPECTED", 1)
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        first, _ = await worker.run(api.followed(new_job("a")), api.followed(new_job("b")))
        await worker.end(first, "hello")
        assert texts(await all_of(api.pieces(A))) == "hello"


async def test_the_spec_says_what_is_followed() -> None:
    async with listening(MemoryBroker()) as api:
        spec = api.followed(new_job(), is_streamed=True).spec
        assert spec.inbox
        assert (spec.is_streamed, spec.is_logged) == (True, False)
        logged = new_job()
        logged = replace(logged, spec=replace(logged.spec, is_logged=True))
        assert api.followed(logged).spec.is_logged, "as the request asked"

"""Waiting for the end of a job: through a restart of the queue, with bounds."""

from collections.abc import Sequence

import pytest
from api_support import Serve
from generate_support import Asked
from starlette.requests import ClientDisconnect

from preble.broker.memory import MemoryBroker
from preble.clock import ManualClock, SystemClock
from preble.config import Settings
from preble.errors import BrokerUnavailable
from preble.messages import JobId, JobView
from preble_api.endings import QUEUE_DOWN_S
from preble_api.errors import HttpError
from preble_api.waits import Waits

pytestmark = pytest.mark.anyio


class AwayBroker(MemoryBroker):
    """A queue that does not answer for the first looks, each of which takes time."""

    def __init__(self, clock: ManualClock, replies: Sequence[JobView | None]) -> None:
        super().__init__()
        self._hands = clock
        self._replies = list(replies)
        self.look_s = 1.0

    async def view(self, job_id: JobId) -> JobView | None:
        del job_id
        self._hands.advance(self.look_s)
        reply = self._replies.pop(0)
        if reply is None:
            raise BrokerUnavailable("redis is gone")
        return reply


async def running_and_ended(broker: MemoryBroker, serve: Serve) -> tuple[JobView, JobView]:
    """How a job looks before and after its end."""
    async with serve(Settings(context_length=256), broker) as client:
        asked = Asked(client, broker, {"text": "hello"})
        job_id = (await asked.job()).job_id
        before = await broker.view(job_id)
        await asked.completed()
        after = await broker.view(job_id)
    assert before
    assert after
    return before, after


async def test_wait_outlives_a_restart_of_the_queue(
    serve: Serve, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    before, after = await running_and_ended(memory_broker, serve)
    away = AwayBroker(clock, [before, None, None, before, None, after])
    assert await Waits(away, clock, longest_s=1_000).ended(before.job_id) == after


async def test_wait_gives_up_on_a_queue_that_stays_away(clock: ManualClock) -> None:
    away = AwayBroker(clock, [None] * 3)
    away.look_s = QUEUE_DOWN_S
    with pytest.raises(HttpError, match=r"goes on.*job_1") as raised:
        await Waits(away, clock, longest_s=1_000).ended(JobId("job_1"))
    assert raised.value.status == 503
    assert raised.value.retry_after_s is None


async def test_a_queue_that_was_not_asked_for_long_is_not_away_for_long(
    serve: Serve, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    before, after = await running_and_ended(memory_broker, serve)
    away = AwayBroker(clock, [before, None, after])
    away.look_s = QUEUE_DOWN_S + 1
    assert await Waits(away, clock, longest_s=1_000).ended(before.job_id) == after


async def test_wait_for_a_job_that_never_ends_is_bounded(
    serve: Serve, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    before, _ = await running_and_ended(memory_broker, serve)
    with pytest.raises(HttpError, match=before.job_id) as raised:
        await Waits(AwayBroker(clock, [before] * 9), clock, longest_s=2).ended(before.job_id)
    assert raised.value.status == 504


async def test_wait_for_a_job_that_is_gone_ends() -> None:
    with pytest.raises(HttpError, match="no longer in the queue"):
        await Waits(MemoryBroker(), SystemClock(), longest_s=9).ended(JobId("job_1"))


async def test_wait_ends_when_the_client_leaves_and_the_job_goes_on(
    serve: Serve, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    async def is_gone() -> bool:
        return True

    before, _ = await running_and_ended(memory_broker, serve)
    waits = Waits(AwayBroker(clock, [before]), clock, longest_s=9)
    with pytest.raises(ClientDisconnect):
        await waits.ended(before.job_id, is_gone=is_gone)


async def test_wait_ends_when_the_api_is_stopped(
    serve: Serve, memory_broker: MemoryBroker, clock: ManualClock
) -> None:
    before, after = await running_and_ended(memory_broker, serve)
    waits = Waits(AwayBroker(clock, [after, before]), clock, longest_s=9)
    waits.stop()
    assert await waits.ended(before.job_id) == after
    with pytest.raises(HttpError, match="being stopped") as raised:
        await waits.ended(before.job_id)
    assert raised.value.status == 503

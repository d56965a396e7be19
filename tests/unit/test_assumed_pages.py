"""What is assumed of a server that tells nothing, and for how long."""

import asyncio

import pytest

from preble.clock import ManualClock
from preble.messages import JobId, SamplingParams, pack_tokens
from preble_workers.assumed_pages import AssumedPages
from preble_workers.engine import (
    Completion,
    EngineInfo,
    EngineRequest,
    PageEvent,
    PagesRemoved,
    PagesStored,
)

pytestmark = pytest.mark.anyio

INFO = EngineInfo(slots=4, kv_capacity_tokens=320, page_size=16, context_length=320)
TTL_S = 0.02


def request(first: int) -> EngineRequest:
    prompt = pack_tokens(range(first, first + 48))
    return EngineRequest(JobId("j"), prompt, SamplingParams(), "")


async def next_events(pages: AssumedPages) -> list[PageEvent]:
    """The next that are not empty."""
    reader = pages.batches()
    async with asyncio.timeout(20):
        while not (events := await anext(reader)):
            pass
    await reader.aclose()
    return events


async def test_what_no_request_uses_is_given_up_and_what_one_uses_is_kept() -> None:
    clock = ManualClock()
    pages = AssumedPages(INFO, ttl_s=TTL_S, clock=clock)
    pages.prefilled(request(0))
    pages.prefilled(request(1000))
    old, used = await next_events(pages)
    assert isinstance(old, PagesStored)
    assert isinstance(used, PagesStored)
    clock.advance(TTL_S)
    pages.completed(request(1000), Completion((), None, "stop", 0, 0.0))
    clock.advance(TTL_S / 2)
    assert await next_events(pages) == [PagesRemoved([*reversed(old.page_hashes)])]
    clock.advance(TTL_S)
    assert await next_events(pages) == [PagesRemoved([*reversed(used.page_hashes)])]
    pages.close()


async def test_what_is_still_believed_is_not_told_again() -> None:
    """The timer goes off for the first prompt, when the second is not old enough."""
    clock = ManualClock()
    pages = AssumedPages(INFO, ttl_s=TTL_S, clock=clock)
    pages.prefilled(request(0))
    (old,) = await next_events(pages)
    assert isinstance(old, PagesStored)
    clock.advance(2 * TTL_S)
    pages.prefilled(request(1000))
    assert [type(each) for each in await next_events(pages)] == [PagesStored]
    assert await next_events(pages) == [PagesRemoved([*reversed(old.page_hashes)])]
    pages.close()

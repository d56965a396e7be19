"""An answer that many ask for is found once in a while."""

import asyncio
import gc

import pytest

from preble.clock import ManualClock
from preble_api.remembered import Remembered

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Source:
    """Answers with how often it was asked, or with an error, once it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails = False

    async def __call__(self) -> int:
        self.asked += 1
        asked = self.asked
        await self.gate.wait()
        if self.fails:
            raise ConnectionError
        return asked


async def test_an_answer_stands_until_it_is_old() -> None:
    source, clock = Source(), ManualClock()
    remembered = Remembered(source, clock, for_s=1)
    assert [await remembered.get() for _ in range(3)] == [1, 1, 1]
    clock.advance(0.9)
    assert await remembered.get() == 1
    clock.advance(0.1)
    assert [await remembered.get() for _ in range(2)] == [2, 2]


async def test_so_does_an_error() -> None:
    source, clock = Source(), ManualClock()
    source.fails = True
    remembered = Remembered(source, clock, for_s=1)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await remembered.get()
    assert source.asked == 1
    clock.advance(1)
    source.fails = False
    assert await remembered.get() == 2


async def test_who_leaves_takes_the_answer_from_nobody() -> None:
    source = Source()
    source.gate.clear()
    remembered = Remembered(source, ManualClock(), for_s=1)
    leaver, stayer = (asyncio.create_task(remembered.get()) for _ in range(2))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    source.gate.set()
    assert await stayer == 1


async def test_an_error_that_nobody_waits_for_is_no_news(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Source()
    source.gate.clear()
    source.fails = True
    remembered = Remembered(source, ManualClock(), for_s=1)
    others = asyncio.all_tasks()
    leaver = asyncio.create_task(remembered.get())
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    source.gate.set()
    await asyncio.wait(asyncio.all_tasks() - others)
    del remembered
    gc.collect()
    assert caplog.records == []

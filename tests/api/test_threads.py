"""Text work: in order, fair between requests, stopped by the first error."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from preble_api.threads import PIECE_CHARS, TextThreads, pieces

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Word:
    name: str
    chars: int


def words(name: str, count: int, chars: int) -> list[Word]:
    return [Word(f"{name}{number}", chars) for number in range(count)]


@pytest.fixture
async def one_thread() -> AsyncIterator[TextThreads]:
    threads = TextThreads(1)
    yield threads
    threads.close()


def test_pieces_keep_order_and_cut_at_the_size() -> None:
    works = words("a", 10, PIECE_CHARS // 4)
    cut = list(pieces(works))
    assert [len(piece) for piece in cut] == [4, 4, 2]
    assert [work for piece in cut for work in piece] == works


def test_work_is_never_cut() -> None:
    huge = words("a", 3, PIECE_CHARS * 10)
    assert list(pieces(huge)) == [[work] for work in huge]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 3, 100])
async def test_results_are_in_the_order_of_the_works(threads: int, count: int) -> None:
    pool = TextThreads(threads)
    works = words("a", count, PIECE_CHARS // 3)
    assert await pool.map(lambda work: work.name, works) == [work.name for work in works]
    pool.close()


async def test_short_request_passes_a_long_list(one_thread: TextThreads) -> None:
    """The one thread gives the short request its turn after one piece of the list."""
    done: list[str] = []
    gate = threading.Event()

    def call(work: Word) -> None:
        gate.wait()
        done.append(work.name)

    long = asyncio.create_task(one_thread.map(call, words("long", 5, PIECE_CHARS)))
    await asyncio.sleep(0)
    short = asyncio.create_task(one_thread.map(call, words("short", 1, 10)))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(long, short)
    assert done.index("short0") <= 2
    assert len(done) == 6


async def test_error_stops_what_has_not_begun(one_thread: TextThreads) -> None:
    done: list[str] = []

    def call(work: Word) -> None:
        done.append(work.name)
        if work.name == "a1":
            raise ValueError(work.name)

    with pytest.raises(ValueError, match="a1"):
        await one_thread.map(call, words("a", 50, PIECE_CHARS))
    await one_thread.map(call, words("b", 1, 10))
    assert done == ["a0", "a1", "b0"]


async def test_error_stops_the_other_threads_too() -> None:
    threads = TextThreads(2)
    done: list[str] = []
    gate = threading.Event()

    def call(work: Word) -> None:
        if work.name == "a0":
            raise ValueError(work.name)
        gate.wait()
        done.append(work.name)

    with pytest.raises(ValueError, match="a0"):
        await threads.map(call, words("a", 50, PIECE_CHARS))
    gate.set()
    await threads.map(call, words("b", 9, PIECE_CHARS))
    threads.close()
    assert len(done) <= 1 + 9

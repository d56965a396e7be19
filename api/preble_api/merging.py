"""Pieces of several jobs, as one stream."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeAlias

from preble.messages import JobView
from preble_api.waits import Piece

Item: TypeAlias = Piece | JobView | None
"""What `Waits.pieces` yields."""


async def merged(
    streams: Sequence[AsyncGenerator[Item]],
) -> AsyncGenerator[tuple[int, Item]]:
    """Items of several jobs as they come, each with its job's place; ends with the last job.

    Raises: what any of the streams raises.
    """
    ready: asyncio.Queue[tuple[int, Item | Exception]] = asyncio.Queue(maxsize=1)
    pumps = [asyncio.create_task(_pump(at, stream, ready)) for at, stream in enumerate(streams)]
    unfinished = len(pumps)
    try:
        while unfinished:
            index, item = await ready.get()
            if isinstance(item, Exception):
                raise item
            unfinished -= isinstance(item, JobView)
            yield index, item
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(
    index: int, stream: AsyncGenerator[Item], into: asyncio.Queue[tuple[int, Item | Exception]]
) -> None:
    try:
        async with aclosing(stream) as items:
            async for item in items:
                await into.put((index, item))
    except Exception as error:  # noqa: BLE001  it is raised where the items are taken
        await into.put((index, error))

"""Work of the disk on threads, so that the event loop never waits for it."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_thread(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What the call returns or raises, on a thread.

    Whoever is cancelled meanwhile goes on only once the call has ended: a thread cannot be
    stopped, and must not find closed what it writes to.
    """
    work = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise

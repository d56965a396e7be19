"""Browsers that look at all pages: each asks as its page says, in step with a clock of its own.

They run in a process of their own, as what they do themselves must not count, and are stopped and
resumed as a whole: what is measured without them has been so a moment before and after.
"""

import asyncio
import os
import random
import re
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import httpx2

WATCHERS: Final = 20
PERIODS_S: Final = {
    "/ui/fleet/panel": 1.0, "/ui/prefixes/panel": 2.0, "/ui/jobs/rows": 2.0,
    "/ui/batches/rows": 2.0, "/ui/latency/panel": 5.0,
}  # fmt: skip
"""How often each page asks for what changes."""

_NEXT: Final = re.compile(r'hx-get="([^"]+)"')
"""Where a panel says that the next one is to be asked for."""


class Watchers:
    """Their process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def resume(self) -> None:
        """Let them look."""
        self._process.send_signal(signal.SIGCONT)

    def pause(self) -> None:
        """Have them ask for nothing."""
        self._process.send_signal(signal.SIGSTOP)


@asynccontextmanager
async def watchers(url: str) -> AsyncGenerator[Watchers]:
    """So many browsers on every page of an api."""
    command = (sys.executable, "-m", "benchmarks.console", "--watch", url)
    process = await asyncio.create_subprocess_exec(*command)
    try:
        yield Watchers(process)
    finally:
        process.kill()
        await process.wait()


async def watch(url: str) -> None:
    """Look, until killed, and leave the machine to all else."""
    os.nice(19)
    # As browsers, they keep their connections.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=limits) as each:
        looks = [_look(each, *page) for page in PERIODS_S.items() for _ in range(WATCHERS)]
        await asyncio.gather(*looks)


async def _look(client: httpx2.AsyncClient, path: str, period_s: float) -> None:
    began_s = time.monotonic() - random.random() * period_s  # noqa: S311  # not all at once
    while True:
        await asyncio.sleep(period_s - (time.monotonic() - began_s) % period_s)
        told = _NEXT.search((await client.get(path)).text)
        path = told[1].replace("&amp;", "&") if told else path

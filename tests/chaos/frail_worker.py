"""A worker as it is, but for its engine, an emulated one that can crash and be poisoned.

Run as the worker's own entry is. SIGUSR1 crashes the engine, not the process: it answers again
when it is started anew, with an empty cache, as a server does. A prompt that begins with
`POISON_TOKEN` ends the whole process, as a fault in a native library would.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from typing import Final

import preble_workers.__main__ as entry
from preble.clock import Clock
from preble.config import Settings
from preble.messages import pack_tokens
from preble_workers.engine import Completion, Engine, EngineInfo, EngineRequest, OnTokens, PageEvent
from preble_workers.engines import create_engine

POISON_TOKEN: Final = 13_999
POISONED_EXIT: Final = 86
_POISON: Final = bytes(pack_tokens([POISON_TOKEN]))


class FrailEngine:
    """An engine that is made anew after each crash.

    Args:
        create: Makes one.
    """

    def __init__(self, create: Callable[[], Engine]) -> None:
        self._create = create
        self._engine = create()
        self._has_crashed = False

    async def start(self) -> EngineInfo:
        """Get ready, after a crash with a new engine."""
        if self._has_crashed:
            self._engine, self._has_crashed = self._create(), False
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: loop.create_task(self._crash()))
        return await self._engine.start()

    async def _crash(self) -> None:
        self._has_crashed = True
        await self._engine.close()

    async def generate(self, request: EngineRequest, on_tokens: OnTokens) -> Completion:
        """Complete a prompt, or die of it."""
        if request.prompt.startswith(_POISON):
            os._exit(POISONED_EXIT)
        return await self._engine.generate(request, on_tokens)

    def page_events(self) -> AsyncGenerator[list[PageEvent]]:
        """Of the engine that runs now."""
        return self._engine.page_events()

    async def flush(self) -> None:
        """Drop its cache."""
        await self._engine.flush()

    async def lost(self) -> None:
        """Return when it has crashed."""
        await self._engine.lost()

    @property
    def steps(self) -> int:
        """Of the engine that runs now."""
        return self._engine.steps

    async def close(self) -> None:
        """End it."""
        await self._engine.close()


def create_frail_engine(settings: Settings, clock: Clock) -> Engine:
    """In place of `create_engine`. Raises: ConfigError."""
    return FrailEngine(lambda: create_engine(settings, clock))


if __name__ == "__main__":
    entry.__dict__["create_engine"] = create_frail_engine
    sys.exit(entry.main())

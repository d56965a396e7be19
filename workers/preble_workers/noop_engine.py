"""An engine that answers at once, to measure everything else."""

import asyncio
from collections.abc import AsyncGenerator

from msgspec.structs import replace

from preble.errors import EngineUnavailable
from preble.messages import unpack_tokens
from preble_workers.echo import echo_tokens
from preble_workers.engine import Completion, EngineInfo, EngineRequest, OnTokens, PageEvent
from preble_workers.logprobs import certain_logprobs


class NoopEngine:
    """Echoes the end of the prompt; caches nothing and reports no events."""

    def __init__(self, info: EngineInfo) -> None:
        self._info = replace(info, has_kv_cache=False)
        self._steps = 0
        self._closed = asyncio.Event()

    async def start(self) -> EngineInfo:
        """What the engine was told to take."""
        return self._info

    async def generate(self, request: EngineRequest, on_tokens: OnTokens) -> Completion:
        """Complete one prompt without suspending.

        Raises:
            EngineUnavailable: After `close`.
        """
        if self._closed.is_set():
            msg = "the engine is closed"
            raise EngineUnavailable(msg)
        output = tuple(unpack_tokens(echo_tokens(request.prompt, request.sampling.max_new_tokens)))
        logprobs = certain_logprobs(output, request.sampling)
        on_tokens(output, None, logprobs)
        return Completion(output, None, "length", 0, 0.0, logprobs)

    async def page_events(self) -> AsyncGenerator[list[PageEvent]]:
        """No events, until `close`."""
        yield []
        await self._closed.wait()

    async def flush(self) -> None:
        """Nothing is cached."""

    async def lost(self) -> None:
        """Until `close`: nothing can be lost."""
        await self._closed.wait()

    @property
    def steps(self) -> int:
        """Grows whenever it is read: this engine is always idle."""
        self._steps += 1
        return self._steps

    async def close(self) -> None:
        """Refuse all that comes from now on."""
        self._closed.set()

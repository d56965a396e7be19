"""An engine that computes nothing and takes the time a real one would, by a cost model.

Its KV cache, its continuous batching and its durations are those of a GPU; its answer is the
end of the prompt. It serves capacity planning, load tests and CI, on any machine.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from msgspec.structs import replace

from preble.clock import Clock
from preble.cost_model import CostModel, StepRequest
from preble.errors import EngineRefused, EngineUnavailable
from preble.messages import TOKEN_BYTES, TokenLogprob, Tokens, unpack_tokens
from preble_workers.echo import echo_tokens
from preble_workers.engine import Completion, EngineInfo, EngineRequest, OnTokens, PageEvent
from preble_workers.kv_cache import KvCache
from preble_workers.logprobs import certain_logprobs
from preble_workers.page_feed import PageFeed
from preble_workers.step_planner import Run, Share, StepPlanner


class _Teller:
    """Tells of the tokens of one request, of which all are known beforehand."""

    def __init__(
        self, output: list[int], logprobs: tuple[TokenLogprob, ...], on_tokens: OnTokens, *,
        is_streamed: bool,
    ) -> None:  # fmt: skip
        self._output = output
        self._logprobs = logprobs
        self._on_tokens = on_tokens
        self._is_streamed = is_streamed
        self._told = 0

    def tell(self, produced: int) -> None:
        """So many there are by now."""
        if produced > self._told and (self._is_streamed or not self._told):
            new = slice(self._told, produced)
            self._told = produced
            self._on_tokens(self._output[new], None, self._logprobs[new])


class EmulatedEngine:
    """A deterministic engine in real time.

    Args:
        info: What it takes; the capacity is rounded down to whole pages.
        chunk_tokens: Most prompt tokens computed in one step.
        cost_model: Predicts how long a step takes.
        speed: How many times faster than predicted it runs, > 0.
        clock: Must move with real time, for steps are slept through.
    """

    def __init__(
        self,
        info: EngineInfo,
        *,
        chunk_tokens: int,
        cost_model: CostModel,
        speed: float,
        clock: Clock,
    ) -> None:
        capacity_pages = info.kv_capacity_tokens // info.page_size
        self._info = replace(info, kv_capacity_tokens=capacity_pages * info.page_size)
        self._cost_model = cost_model
        self._speed = speed
        self._clock = clock
        self._kv_cache = KvCache(capacity_pages=capacity_pages, page_size=info.page_size)
        self._planner = StepPlanner(self._kv_cache, slots=info.slots, chunk_tokens=chunk_tokens)
        self._feed = PageFeed(self._kv_cache)
        self._ends: dict[Run, asyncio.Future[None]] = {}
        self._tellers: dict[Run, _Teller] = {}
        self._work = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._is_closed = False
        self._steps = 0

    async def start(self) -> EngineInfo:
        """Begin to step; again, only say what it takes.

        Raises:
            EngineUnavailable: After `close`.
        """
        if self._is_closed:
            raise self._closed_error()
        if self._loop is None:
            self._loop = asyncio.create_task(self._step_forever(), name="emulated-engine")
        return self._info

    async def generate(self, request: EngineRequest, on_tokens: OnTokens) -> Completion:
        """Complete one prompt, in the time the cost model predicts.

        Cancelling it frees the slot and the pages; full pages computed so far stay cached.

        Raises:
            EngineRefused: If prompt and output can never fit, or the prompt is empty.
            EngineUnavailable: If the engine is or gets closed.
        """
        if self._is_closed:
            raise self._closed_error()
        arrived_at_s = self._clock.now_s()
        run, output = self._prepare(request)
        logprobs = certain_logprobs(output, request.sampling)
        end = self._ends[run] = asyncio.get_running_loop().create_future()
        self._tellers[run] = _Teller(output, logprobs, on_tokens, is_streamed=request.is_streamed)
        self._planner.add(run)
        self._work.set()
        try:
            await end
        finally:
            del self._ends[run]
            self._tellers.pop(run, None)
            self._planner.remove(run)
        ttft_s = run.first_token_at_s - arrived_at_s
        return Completion(tuple(output), None, "length", run.hit_tokens, ttft_s, logprobs)

    def page_events(self) -> AsyncGenerator[list[PageEvent]]:
        """KV cache events, those of a step together."""
        return self._feed.batches()

    async def flush(self) -> None:
        """Empty the cache. Raises: EngineUnavailable while requests run."""
        if not self._planner.is_idle:
            msg = "the engine is busy: its cache cannot be emptied now"
            raise EngineUnavailable(msg)
        self._kv_cache.clear()
        self._feed.notify()

    async def lost(self) -> None:
        """Until it ends: `close`, or a bug."""
        if self._loop is not None:
            await asyncio.wait({self._loop})

    @property
    def steps(self) -> int:
        """Grows with each step and, while the engine is idle, whenever it is read."""
        if self._planner.is_idle:
            self._steps += 1
        return self._steps

    async def close(self) -> None:
        """Stop stepping. Raises: whatever ended the steps before, if it was a bug."""
        self._is_closed = True
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop

    def _prepare(self, request: EngineRequest) -> tuple[Run, list[int]]:
        """The output is known beforehand, so its pages are hashed with the prompt's."""
        prompt_tokens = len(request.prompt) // TOKEN_BYTES
        output_tokens = request.sampling.max_new_tokens
        self._check_fits(prompt_tokens, output_tokens)
        output = echo_tokens(request.prompt, output_tokens)
        pages = self._kv_cache.pages_of(
            Tokens(request.prompt + output),
            prompt_tokens=prompt_tokens,
            cache_salt=request.cache_salt,
        )
        return Run(pages, output_tokens), unpack_tokens(output)

    def _check_fits(self, prompt_tokens: int, output_tokens: int) -> None:
        total_tokens = prompt_tokens + output_tokens
        if prompt_tokens == 0:
            msg = "a prompt needs at least one token"
            raise EngineRefused(msg)
        if total_tokens > self._info.context_length:
            msg = f"{total_tokens} tokens exceed the context of {self._info.context_length}"
            raise EngineRefused(msg)
        if total_tokens > self._info.kv_capacity_tokens:
            msg = f"{total_tokens} tokens exceed the KV cache of {self._info.kv_capacity_tokens}"
            raise EngineRefused(msg)

    async def _step_forever(self) -> None:
        try:
            while True:
                await self._work.wait()
                await self._step_until_idle()
                self._work.clear()
        finally:
            self._is_closed = True
            self._feed.close()
            for end in self._ends.values():
                if not end.done():
                    end.set_exception(self._closed_error())

    async def _step_until_idle(self) -> None:
        """Sleep towards absolute ends of steps: what one sleep overshoots, the next makes up."""
        end_s = self._clock.now_s()
        while not self._planner.is_idle:
            step = self._planner.plan()
            end_s += self._step_s(step)
            await asyncio.sleep(max(0.0, end_s - self._clock.now_s()))
            self._finish(step)

    def _finish(self, step: list[Share]) -> None:
        self._steps += 1
        for run in self._planner.complete(step, self._clock.now_s()):
            end = self._ends[run]
            if not end.done():
                end.set_result(None)
        for share in step:
            if teller := self._tellers.get(share.run):
                teller.tell(share.run.produced_tokens)
        self._feed.notify()

    def _step_s(self, step: list[Share]) -> float:
        requests = [StepRequest(share.new_tokens, share.context_tokens) for share in step]
        return self._cost_model.step_s(requests) / self._speed

    @staticmethod
    def _closed_error() -> EngineUnavailable:
        return EngineUnavailable("the engine is closed")

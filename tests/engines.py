"""Engines as tests use them."""

from collections.abc import Sequence

from preble.clock import SystemClock
from preble.messages import TokenLogprob
from preble_workers.engine import Completion, Engine, EngineInfo, EngineRequest
from preble_workers.http_engine import HttpEngine


def make_http_engine(url: str, *, assumed: EngineInfo, pulse_s: float = 60.0) -> HttpEngine:
    """One that waits for no server, and leaves a silent one alone unless told otherwise."""
    return HttpEngine(
        url, assumed=assumed, block_size=64, clock=SystemClock(), start_timeout_s=0.0,
        pulse_s=pulse_s,
    )  # fmt: skip


class Told:
    """Takes what an engine tells of one request: give it as `on_tokens`."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.texts: list[str | None] = []
        """One for each call."""
        self.logprobs: list[TokenLogprob] = []

    def __call__(
        self, ids: Sequence[int], text: str | None, logprobs: Sequence[TokenLogprob]
    ) -> None:
        assert len(logprobs) in {0, len(ids)}
        self.ids += ids
        self.texts.append(text)
        self.logprobs += logprobs


async def complete(engine: Engine, request: EngineRequest) -> Completion:
    """Complete one prompt, whenever its tokens come."""
    return await engine.generate(request, Told())

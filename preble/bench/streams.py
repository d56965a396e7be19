"""`preble bench streams`: how long after the engine made it a client has a token.

    TimedEngine ─ token ─▶ worker ─▶ Redis ─▶ api ─ event ─▶ client
         └────────────── both in this process, one clock ──────┘

A whole private stack with one worker. First one stream at a time, then many; last short requests
that do not stream, whose latency the waiting for ends decides.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from importlib import resources
from itertools import count
from typing import Final

import msgspec

from preble.bench.cpu import cpu_us_by_kind
from preble.bench.load import Connection, LoadFailed, Target, send_all
from preble.bench.timed_engine import TimedEngine
from preble.config import Settings
from preble.quantiles import quantile
from preble.serve.private import PrivateStack, private_stack

PROMPT_TOKENS: Final = 200
WARM_UP_STREAMS: Final = 5
_FIRST_ID: Final = 1_000

Say = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True):
    """What is sent."""

    streams: int = 100
    tokens: int = 50
    """Of each stream."""
    token_s: float = 0.01
    """Between two tokens of a stream."""
    concurrency: int = 32
    """Streams at once, in the second part."""
    requests: int = 300
    """That do not stream, one at a time, of one token each."""


class Delays(msgspec.Struct, frozen=True):
    """From the engine's making a token to the client's having it, milliseconds."""

    first_p50_ms: float
    first_p99_ms: float
    later_p50_ms: float
    later_p99_ms: float


class StreamRow(msgspec.Struct, frozen=True):
    """Streams, so many at once."""

    at_once: int
    streams: int
    tokens_per_s: float
    delays: Delays
    cpu_us_per_token: dict[str, float]


class StreamFigures(msgspec.Struct, frozen=True):
    """All figures of one run."""

    cores: int
    rows: tuple[StreamRow, ...]
    request_p50_ms: float
    """Of a request that does not stream, beyond what the engine takes."""
    request_p99_ms: float


def run(settings: Settings, plan: Plan, *, say: Say) -> StreamFigures:
    """Measure all on one private stack.

    Raises:
        LoadFailed: If a request is not accepted.
    """
    return asyncio.run(_run(settings, plan, say))


async def _run(settings: Settings, plan: Plan, say: Say) -> StreamFigures:
    async with TimedEngine(token_s=plan.token_s) as engine:
        tokenizer = str(resources.files("preble") / "data" / "tokenizer")
        settings = msgspec.structs.replace(
            settings, engine="http", engine_url=engine.url, workers=1,
            log_level="warning", api_key="", tokenizer=tokenizer,
        )  # fmt: skip
        opened = private_stack(settings)
        stack = await asyncio.to_thread(opened.__enter__)
        try:
            return await _Bench(stack, engine, plan, say).run()
        finally:
            await asyncio.to_thread(opened.__exit__, None, None, None)


class _Bench:
    def __init__(self, stack: PrivateStack, engine: TimedEngine, plan: Plan, say: Say) -> None:
        self._stack = stack
        self._engine = engine
        self._plan = plan
        self._say = say
        self._target = Target(stack.url, "/generate")
        self._ids = count(_FIRST_ID)

    async def run(self) -> StreamFigures:
        plan = self._plan
        await self._streams(WARM_UP_STREAMS, at_once=1)
        rows = [
            await self._streams(plan.streams, at_once=at_once) for at_once in (1, plan.concurrency)
        ]
        latencies_ms = await self._requests()
        return StreamFigures(
            len(os.sched_getaffinity(0)), tuple(rows),
            round(quantile(latencies_ms, 0.5), 2), round(quantile(latencies_ms, 0.99), 2),
        )  # fmt: skip

    async def _streams(self, streams: int, *, at_once: int) -> StreamRow:
        self._say(f"{streams} streams, {at_once} at once")
        before_us = cpu_us_by_kind(self._stack.pid)
        began_s = time.perf_counter()
        waiting = iter(range(streams))

        async def work() -> list[list[float]]:
            return [await self._stream() for _ in waiting]

        done = await asyncio.gather(*(work() for _ in range(at_once)))
        delays_ms = [each for some in done for each in some]
        tokens = streams * self._plan.tokens
        elapsed_s = time.perf_counter() - began_s
        after_us = cpu_us_by_kind(self._stack.pid)
        cpu = {kind: round((after_us[kind] - us) / tokens, 1) for kind, us in before_us.items()}
        return StreamRow(at_once, streams, round(tokens / elapsed_s, 1), _delays(delays_ms), cpu)

    async def _stream(self) -> list[float]:
        """One stream: the delay of each of its tokens."""
        first_id = next(self._ids)
        connection = await _Reader.to(self._target)
        reply = await connection.send(self._request(first_id, self._plan.tokens, is_streamed=True))
        connection.close()
        if reply.status != 200:  # noqa: PLR2004  # OK
            msg = f"/generate answered {reply.status}: {reply.body[:200]!r}"
            raise LoadFailed(msg)
        assert isinstance(connection, _Reader)  # noqa: S101  # it was made so
        made = self._engine.made_at_s.pop(first_id)
        had = connection.had_at_s
        return [(had_s - made_s) * 1_000 for had_s, made_s in zip(had, made, strict=True)]

    async def _requests(self) -> list[float]:
        self._say(f"{self._plan.requests} requests that do not stream")
        latencies_ms: list[float] = []
        for _ in range(self._plan.requests):
            request = self._request(next(self._ids), 1, is_streamed=False)
            began_s = time.perf_counter()
            await send_all(self._target, [request], concurrency=1)
            took_s = time.perf_counter() - began_s - self._engine.token_s
            latencies_ms.append(took_s * 1_000)
        return sorted(latencies_ms)

    def _request(self, first_id: int, tokens: int, *, is_streamed: bool) -> bytes:
        body = {
            "input_ids": [first_id] * PROMPT_TOKENS, "stream": is_streamed,
            "sampling_params": {"max_new_tokens": tokens},
        }  # fmt: skip
        return self._target.post(msgspec.json.encode(body))


class _Reader(Connection):
    """A connection that notes when it has each token of a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.had_at_s: list[float] = []

    def on_body(self, body: bytes) -> None:
        """httptools: a piece of the body, which is an event or more."""
        super().on_body(body)
        now_s = time.perf_counter()
        for line in body.split(b"\n"):
            if line.startswith(b'data: {"text"'):
                tokens = msgspec.json.decode(line[6:], type=_Event).meta_info.completion_tokens
                self.had_at_s += [now_s] * (tokens - len(self.had_at_s))


class _MetaInfo(msgspec.Struct):
    completion_tokens: int


class _Event(msgspec.Struct):
    meta_info: _MetaInfo


def _delays(delays_ms: Sequence[Sequence[float]]) -> Delays:
    first = sorted(each[0] for each in delays_ms)
    later = sorted(delay for each in delays_ms for delay in each[1:])
    return Delays(
        round(quantile(first, 0.5), 2), round(quantile(first, 0.99), 2),
        round(quantile(later, 0.5), 2), round(quantile(later, 0.99), 2),
    )  # fmt: skip

"""Emulated engines behind the part of SGLang's HTTP that routers need.

All instances live in one process and one server; a request's local port says whose it is. What
they report of their load is what SGLang says under the same names.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from preble.block_keys import block_keys
from preble.clock import SystemClock
from preble.cost_model import load_cost_model
from preble.messages import JobId, SamplingParams, TokenLogprob, Tokens, unpack_keys
from preble.simulator.run import EngineSettings
from preble_workers.emulated_engine import EmulatedEngine
from preble_workers.engine import EngineInfo, EngineRequest
from tools.peers.texts import tokens_of

_ROOT: Final = 0
_MODEL: Final = "emulated"


class Generate(msgspec.Struct, frozen=True):
    """The body of `/generate`, as far as it matters here."""

    text: str
    sampling_params: SamplingParams


class FinishReason(msgspec.Struct, frozen=True):
    """Why an answer ended: emulated engines produce all that was asked for."""

    type: str = "length"


class MetaInfo(msgspec.Struct, frozen=True):
    """What an answer says of a request, under SGLang's names."""

    id: str
    completion_tokens: int
    cached_tokens: int
    finish_reason: FinishReason = FinishReason()


class Answer(msgspec.Struct, frozen=True):
    """The body that answers `/generate`; SGLang's has no `instance`."""

    instance: int
    meta_info: MetaInfo
    text: str = ""


class Instance:
    """One engine, and what it would report of its load.

    Args:
        number: Its place in the fleet.
        engine: Started by `fleet`.
        info: What it takes.
    """

    def __init__(self, number: int, engine: EmulatedEngine, info: EngineInfo) -> None:
        self.engine = engine
        self._number = number
        self._info = info
        self._waiting: dict[JobId, Tokens] = {}
        self._running: dict[JobId, Tokens] = {}
        self._numbers = count()
        self._clock = SystemClock()
        self._produced_tokens = 0
        self._looked_at_s = self._clock.now_s()

    async def generate(self, body: Generate) -> Answer:
        """Complete a prompt."""
        job_id = JobId(str(next(self._numbers)))
        prompt = self._waiting[job_id] = tokens_of(body.text)

        def begin(ids: Sequence[int], text: str | None, logprobs: Sequence[TokenLogprob]) -> None:
            del ids, text, logprobs
            self._running[job_id] = self._waiting.pop(job_id)

        request = EngineRequest(job_id, prompt, body.sampling_params, "")
        try:
            completion = await self.engine.generate(request, begin)
        finally:
            self._waiting.pop(job_id, None)
            self._running.pop(job_id, None)
        self._produced_tokens += len(completion.output_ids)
        done = MetaInfo(job_id, len(completion.output_ids), completion.cached_tokens)
        return Answer(self._number, done)

    def load(self) -> dict[str, object]:
        """As in `/v1/loads`. A request waits until its first token is there.

        Changes: its throughput is that since the last call.
        Cost: O(blocks of all running requests).
        """
        passed_s = self._clock.now_s() - self._looked_at_s
        throughput = self._produced_tokens / max(passed_s, 1e-3)
        self._produced_tokens = 0
        self._looked_at_s += passed_s
        capacity_tokens, page_size = self._info.kv_capacity_tokens, self._info.page_size
        pages = {
            key
            for prompt in self._running.values()
            for key in unpack_keys(block_keys(prompt, root=_ROOT, block_size=page_size))
        }
        used_tokens = min(capacity_tokens, len(pages) * page_size)
        return {
            "dp_rank": 0,
            "num_running_reqs": len(self._running),
            "num_waiting_reqs": len(self._waiting),
            "num_total_reqs": len(self._running) + len(self._waiting),
            "num_used_tokens": used_tokens,
            "max_total_num_tokens": capacity_tokens,
            "token_usage": used_tokens / capacity_tokens,
            "gen_throughput": throughput,
            "max_running_requests": self._info.slots,
        }


@asynccontextmanager
async def fleet(
    settings: EngineSettings, *, num: int, page_size: int, tells_load: bool
) -> AsyncGenerator[Sequence[str]]:
    """The URLs of so many engines, as fast as their cost model says.

    Args:
        settings: Of each engine.
        num: How many.
        page_size: Of their KV caches, in tokens.
        tells_load: Whether they have `/v1/loads`.

    Raises:
        OSError: If a port cannot be had.
    """
    sockets = [_listen() for _ in range(num)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    instances = [_instance(number, settings, page_size) for number in range(num)]
    for each in instances:
        await each.engine.start()
    app = _application(dict(zip(ports, instances, strict=True)), tells_load=tells_load)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_keep_alive=60))
    serving = asyncio.create_task(server.serve(sockets))
    try:
        yield [f"http://127.0.0.1:{port}" for port in ports]
    finally:
        server.should_exit = True
        await serving
        for each in instances:
            await each.engine.close()


def _listen() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


def _instance(number: int, settings: EngineSettings, page_size: int) -> Instance:
    info = EngineInfo(
        slots=settings.slots, kv_capacity_tokens=settings.kv_capacity_tokens,
        page_size=page_size, context_length=settings.kv_capacity_tokens,
    )  # fmt: skip
    engine = EmulatedEngine(
        info, chunk_tokens=settings.chunk_tokens,
        cost_model=load_cost_model(settings.cost_model), speed=1.0, clock=SystemClock(),
    )  # fmt: skip
    return Instance(number, engine, info)


def _application(instances: dict[int, Instance], *, tells_load: bool) -> Starlette:
    async def generate(request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=Generate)
        answer = await instances[_port(request)].generate(body)
        return Response(msgspec.json.encode(answer), media_type="application/json")

    async def loads(request: Request) -> Response:
        if not tells_load:
            return Response(status_code=404)
        rank = instances[_port(request)].load()
        return JSONResponse({"timestamp": "", "dp_rank_count": 1, "loads": [rank]})

    async def about(_: Request) -> Response:
        return JSONResponse(
            {
                "model_path": _MODEL, "served_model_name": _MODEL, "is_generation": True,
                "tp_size": 1, "dp_size": 1,
            }
        )  # fmt: skip

    pages = ("health", "health_generate", "model_info", "get_model_info", "server_info",
             "get_server_info")  # fmt: skip
    return Starlette(
        routes=[
            Route("/generate", generate, methods=["POST"]),
            Route("/v1/loads", loads),
            *(Route(f"/{page}", about) for page in pages),
        ]
    )


def _port(request: Request) -> int:
    server: tuple[str, int] = request.scope["server"]
    return server[1]

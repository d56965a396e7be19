"""A workload through a router, at its times of arrival."""

import asyncio
from collections.abc import Sequence
from typing import Final

import httpx2
import msgspec

from preble.messages import SamplingParams
from preble.simulator.workload import TimedRequest, Workload
from tools.peers.figures import Outcome
from tools.peers.fleet import Answer, Generate
from tools.peers.texts import prompt_text

_HEADERS: Final = {"content-type": "application/json"}


async def send(url: str, workload: Workload) -> Sequence[Outcome]:
    """What became of each request, in the workload's order.

    Raises:
        HTTPStatusError: If one was refused.
    """
    bodies = [_body(each, number, workload) for number, each in enumerate(workload.requests)]
    loop = asyncio.get_running_loop()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=None, limits=limits) as client:
        began_s = loop.time()

        async def one(request: TimedRequest, body: bytes) -> Outcome:
            await asyncio.sleep(began_s + request.at_s - loop.time())
            reply = await client.post("/generate", content=body, headers=_HEADERS)
            latency_s = loop.time() - began_s - request.at_s
            reply.raise_for_status()
            answer = msgspec.json.decode(reply.content, type=Answer)
            hit_tokens = answer.meta_info.cached_tokens
            return Outcome(answer.instance, request.prompt_tokens, hit_tokens, latency_s)

        pairs = zip(workload.requests, bodies, strict=True)
        return await asyncio.gather(*(one(request, body) for request, body in pairs))


def _body(request: TimedRequest, number: int, workload: Workload) -> bytes:
    text = prompt_text(request, number, workload.block_size)
    sampling = SamplingParams(max_new_tokens=request.output_tokens)
    return msgspec.json.encode(Generate(text, sampling))

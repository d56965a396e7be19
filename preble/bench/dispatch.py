"""`preble bench dispatch`: what the dispatch path costs, on a whole private stack.

The engine is `noop`, so that everything measured is Preble's: HTTP, admission, placement,
claims, results. All of it and the client share this machine's cores. Three loads, one after
another: single submits, lists, and low load for latency.
"""

import asyncio
import os
import random
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from preble.bench.load import Connection, Reply, Target, send_all
from preble.bench.throughput import CONCURRENCY, Say, Throughput, ThroughputRow, without_engine
from preble.config import Settings
from preble.quantiles import quantile
from preble.serve.private import PrivateStack, private_stack

GROUPS: Final = 64
SHARED: Final = 0.75
"""Share of each prompt that its group has in common."""

LONG_TOKENS: Final = 1_000
SHORT_TOKENS: Final = 256
LIST_JOBS: Final = 100
WARM_UP_JOBS: Final = 200
SETTLED_S: Final = 0.02


class LatencyRow(msgspec.Struct, frozen=True):
    """Submit to engine start, one job at a time; Redis stamps whole milliseconds."""

    jobs: int
    p50_ms: float
    p99_ms: float


class BesideRow(msgspec.Struct, frozen=True):
    """Another server under the same single submits, sent to its `/generate`."""

    url: str
    requests_per_s: float
    ratio: float
    """Our jobs per second over its requests per second."""


class DispatchFigures(msgspec.Struct, frozen=True):
    """All figures of one run."""

    cores: int
    throughput: tuple[ThroughputRow, ...]
    latency: LatencyRow
    beside: BesideRow | None = None


def run(settings: Settings, *, jobs: int, beside: str | None, say: Say) -> DispatchFigures:
    """Measure all loads on one private stack.

    Args:
        settings: Their engine is replaced by `noop`.
        jobs: Single submits; the other loads take as many or fewer.
        beside: URL of a server to put under the same single submits afterwards.
        say: Told what is being measured.

    Raises:
        LoadFailed: If a server does not accept a request.
    """
    with private_stack(without_engine(settings)) as stack:
        return asyncio.run(_Bench(stack, say).run(jobs, beside))


class _Bench:
    def __init__(self, stack: PrivateStack, say: Say) -> None:
        self._stack = stack
        self._say = say
        self._jobs = Target(stack.url, "/v1/jobs")
        self._throughput = Throughput(stack, say)
        self._chance = random.Random(0)  # noqa: S311  # the same prompts in each run

    async def run(self, jobs: int, beside: str | None) -> DispatchFigures:
        singles = [_body(ids) for ids in self._prompts(jobs, LONG_TOKENS)]
        await self._throughput.measure("warm-up", singles[:WARM_UP_JOBS], 1)
        single = await self._throughput.measure("single submits of 1,000 input_ids", singles, 1)
        lists = await self._throughput.measure(
            "lists of 100 jobs of 256 input_ids",
            [
                msgspec.json.encode([_job(ids) for ids in self._prompts(LIST_JOBS, SHORT_TOKENS)])
                for _ in range(max(1, jobs // LIST_JOBS))
            ],
            LIST_JOBS,
        )
        return DispatchFigures(
            cores=len(os.sched_getaffinity(0)),
            throughput=(single, lists),
            latency=await self._latency(max(WARM_UP_JOBS, jobs // 20)),
            beside=await self._beside(beside, singles, single) if beside else None,
        )

    async def _latency(self, jobs: int) -> LatencyRow:
        self._say("one job at a time")
        connection = await Connection.to(self._jobs)
        waits_ms: list[float] = []
        for ids in self._prompts(jobs, LONG_TOKENS):
            accepted = await connection.send(self._jobs.post(_body(ids)))
            waits_ms.append(await self._started_after_ms(connection, accepted))
        connection.close()
        waits_ms.sort()
        return LatencyRow(
            jobs, round(quantile(waits_ms, 0.5), 2), round(quantile(waits_ms, 0.99), 2)
        )

    async def _started_after_ms(self, connection: Connection, accepted: Reply) -> float:
        """Asked when it has surely started: a look before that would stand in its way."""
        await asyncio.sleep(SETTLED_S)
        job_id = msgspec.json.decode(accepted.body)["id"]
        request = Target(self._stack.url, f"/v1/jobs/{job_id}").get("Prefer: wait=10")
        job = msgspec.json.decode((await connection.send(request)).body)
        return (float(job["started_at"]) - accepted.sent_at_s) * 1_000

    async def _beside(self, url: str, bodies: Sequence[bytes], single: ThroughputRow) -> BesideRow:
        self._say(f"the same single submits to {url}")
        target = Target(url, "/generate")
        requests = [target.post(body) for body in bodies]
        await send_all(target, requests[:WARM_UP_JOBS], concurrency=CONCURRENCY)
        started_s = time.perf_counter()
        await send_all(target, requests, concurrency=CONCURRENCY)
        per_s = len(requests) / (time.perf_counter() - started_s)
        return BesideRow(url, round(per_s, 1), round(single.jobs_per_s / per_s, 3))

    def _prompts(self, number: int, tokens: int) -> list[list[int]]:
        """Prompts of which `SHARED` is common to one of `GROUPS` groups."""
        shared_tokens = int(tokens * SHARED)
        vocabulary = range(1_000, 2_000)
        groups = [self._chance.choices(vocabulary, k=shared_tokens) for _ in range(GROUPS)]
        return [
            groups[index % GROUPS] + self._chance.choices(vocabulary, k=tokens - shared_tokens)
            for index in range(number)
        ]


_SAMPLING: Final = {"sampling_params": {"max_new_tokens": 1}}


def _job(ids: list[int]) -> dict[str, object]:
    return {"input_ids": ids, **_SAMPLING}


def _body(ids: list[int]) -> bytes:
    return msgspec.json.encode(_job(ids))

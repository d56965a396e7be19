"""`python -m benchmarks.console`: how long the console's pages take the api, before a large pool.

A private Valkey is given instances with their snapshots, and jobs in history: one of each tenant
goes the whole way through the broker's own scripts, and Lua copies their records under new ids into
the same lists; the newest of them have decisions and results, too. Then one api process is asked
for each page, again and again with pauses, so that what it remembers a moment is asked for anew.
Last, how long one job takes to be shown, alone and while others watch all pages. The times are a
client's on the same machine: they have the way through the socket in them.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final

import httpx2
from redis.asyncio import Redis

from preble.broker.redis import RedisBroker
from preble.clock import unix_s
from preble.config import Settings, to_environ
from preble.messages import (
    Assignment,
    BlocksStored,
    InstanceId,
    InstanceRecord,
    InstanceReport,
    JobFailure,
    JobId,
    JobResult,
    JobSpec,
    Lease,
    Outcome,
    SamplingParams,
    Snapshot,
    Submission,
    Weighing,
    pack_keys,
    pack_tokens,
)
from preble.pool import pool_record
from preble.serve.embedded_redis import is_serving, redis_url, valkey_binary, valkey_command
from preble.serve.network import claim_port
from preble.tokenizer import load_tokenizer

TENANTS: Final = 10
CANDIDATES: Final = 16
WHOLE: Final = 2_000
"""Jobs, the newest, that are copied with decision and result."""

FAILED_EACH: Final = 200
"""One job in so many has failed."""

ROUNDS: Final = 6
PAUSE_S: Final = 5.2
"""Longer than any page is remembered."""

WATCHERS: Final = 20
PERIODS_S: Final = {
    "/ui/fleet/panel": 1.0, "/ui/prefixes/panel": 2.0, "/ui/jobs/rows": 2.0,
    "/ui/batches/rows": 2.0, "/ui/latency/panel": 5.0,
}  # fmt: skip
"""How often each page asks for what changes."""

CHUNK: Final = 1_000

COPY: Final = """
local first, count, total, now, pool = unpack(ARGV, 1, 5)
for i = first, first + count - 1 do
  local tenant = 't' .. i % 10
  local failed = i % tonumber(ARGV[7]) == 0
  local template = failed and 'failed' or tenant
  local job = string.format('job_%032x', i)
  local at = now - (total - i) * 10
  redis.call('COPY', 'rq:job:' .. template, 'rq:job:' .. job)
  redis.call('HSET', 'rq:job:' .. job, 'preble_order', i + 100, 'preble_submitted_ms', at,
    'preble_started_ms', at + 20 + i % 300, 'preble_ended_ms', at + 100 + i % 3000)
  if total - i < tonumber(ARGV[6]) then
    redis.call('COPY', pool .. 'decision:' .. template, pool .. 'decision:' .. job)
    redis.call('COPY', 'rq:results:' .. template, 'rq:results:' .. job)
  end
  local owner = failed and 't0' or tenant
  for _, scope in ipairs({'*', owner}) do
    redis.call('ZADD', pool .. 'jobs:' .. scope, i + 100, job)
    if failed then redis.call('ZADD', pool .. 'jobs:' .. scope .. ':failed', i + 100, job) end
  end
end
redis.call('HSET', pool .. 'counts', 'admitted', total + 100)
"""


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description="Time the console's pages.")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="In history.")
    parser.add_argument("--instances", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=256_000, help="Cached, of all instances.")
    parser.add_argument("--watch", metavar="URL", help="Do nothing but look at all pages there.")
    asked = parser.parse_args()
    if asked.watch:
        asyncio.run(_watch(asked.watch))
        return 0
    figures = asyncio.run(_measure(asked.jobs, asked.instances, asked.blocks))
    print(json.dumps(figures, indent=1))  # noqa: T201  # what it is for
    return 0


async def _measure(jobs: int, instances: int, blocks: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="preble-bench-") as name:
        folder = Path(name)
        async with _valkey(folder) as url:
            settings = Settings(
                redis_url=url, engine="noop", port=claim_port("127.0.0.1", 0),
                files_dir=str(folder / "files"), result_ttl_s=7 * 86_400, max_jobs=2 * jobs,
            )  # fmt: skip
            began_s = time.monotonic()
            await _fill(settings, jobs, instances, blocks)
            filled_s = time.monotonic() - began_s
            async with _api(settings) as client:
                pages = await _pages(client, jobs)
                shown = await _shown(client, jobs)
    return {
        "jobs": jobs, "instances": instances, "blocks": blocks, "filled_s": round(filled_s),
        "pages_ms": pages, "a_job_over_the_api_ms": shown,
    }  # fmt: skip


@asynccontextmanager
async def _valkey(folder: Path) -> AsyncGenerator[str]:
    port = claim_port("127.0.0.1", 0)
    command = (*valkey_command(valkey_binary(), folder, port), "--appendonly", "no")
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    try:
        await _until(lambda: is_serving(port, process.pid))
        yield redis_url(port)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _api(settings: Settings) -> AsyncGenerator[httpx2.AsyncClient]:
    environ = {**os.environ, **to_environ(settings)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "preble_api", env=environ, stdout=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{settings.port}"
    try:
        async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            await _until(lambda: _answers(client))
            yield client
    finally:
        process.terminate()
        await process.wait()


async def _answers(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).is_success
    except httpx2.TransportError:
        return False


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await is_so():  # noqa: ASYNC110  # not ours
            await asyncio.sleep(0.05)


# What the pool has.


async def _fill(settings: Settings, jobs: int, instances: int, blocks: int) -> None:
    broker = RedisBroker.from_settings(settings)
    try:
        await broker.agreement.join_pool(pool_record(settings, load_tokenizer(settings.tokenizer)))
        records = [await _instance(broker, settings, n, blocks // instances)
                   for n in range(instances)]  # fmt: skip
        await _templates(broker, records)
    finally:
        await broker.close()
    async with Redis.from_url(settings.redis_url) as redis:  # pyright: ignore[reportUnknownMemberType]
        copy = redis.register_script(COPY)
        now_ms = int(unix_s() * 1_000)
        for first in range(1, jobs + 1, CHUNK):
            number = min(CHUNK, jobs + 1 - first)
            pool = f"preble:{settings.pool}:"
            await copy(args=[first, number, jobs, now_ms, pool, WHOLE, FAILED_EACH])


async def _instance(
    broker: RedisBroker, settings: Settings, number: int, blocks: int
) -> InstanceRecord:
    record = InstanceRecord(
        InstanceId(f"gpu{number:02}"), "e", "noop", 64, 2 * blocks * settings.block_size,
        settings.cost_model,
    )  # fmt: skip
    await broker.register(record, lease_s=60)
    report = InstanceReport(blocks * 20, 1_000_000, 700_000)
    await broker.renew(record, [], lease_s=60, report=report)
    await broker.bulletin.save_snapshot(Snapshot(record.instance_id, "e", 1, _runs(number, blocks)))
    return record


def _runs(seed: int, blocks: int) -> tuple[BlocksStored, ...]:
    """A prompt that all begin with, and conversations of 64 blocks behind it."""
    chance, shared = random.Random(seed), random.Random(0)  # noqa: S311  # the same in each run
    head = [shared.getrandbits(64) for _ in range(32)]
    runs = [BlocksStored(pack_keys(head))]
    for _ in range(max(0, blocks - 32) // 64):
        parent = head[-1]
        for _ in range(4):
            keys = [chance.getrandbits(64) for _ in range(16)]
            runs.append(BlocksStored(pack_keys(keys), parent))
            parent = keys[-1]
    return tuple(runs)


async def _templates(broker: RedisBroker, records: Sequence[InstanceRecord]) -> None:
    """One job of each tenant that completed, and one that failed, by the broker's own scripts."""
    names = [*(f"t{number}" for number in range(TENANTS)), "failed"]
    for name in names:
        tenant = "t0" if name == "failed" else name
        spec = JobSpec(1_000, SamplingParams(), tenant=tenant)
        made = Submission(JobId(name), spec, pack_tokens([1] * 1_000), pack_keys([1, 2]))
        assert await broker.admit([[made]]) == [None]  # noqa: S101
    token = await broker.lead("bench", ttl_s=60)
    assert token  # noqa: S101
    waiting = await broker.peek(100)
    moves = [(job.ingress, _assignment(job.job_id, records)) for job in waiting]
    await broker.route(token, moves)
    claims = await broker.claim(
        records[0], number=1, jobs=100, tokens=10_000_000, num_held=0, lease_s=60
    )
    await broker.finish(records[0], [_outcome(each.lease, each.job_id) for each in claims])


def _outcome(lease: Lease, job_id: JobId) -> Outcome:
    if job_id == "failed":
        return Outcome(lease, failure=JobFailure("run_time_exceeded", "it took too long"))
    return Outcome(lease, JobResult("text " * 60, tuple(range(60)), "stop", 1_000, 60, 640, 0.1, 2))


def _assignment(job_id: JobId, records: Sequence[InstanceRecord]) -> Assignment:
    some = [record.instance_id for record in records[:CANDIDATES]]
    figures = [float(number) for number in range(len(some))]
    hits, jobs = [64 * number for number in range(len(some))], list(range(len(some)))
    weighed = Weighing(some, hits, figures, figures, figures, jobs, figures)
    return Assignment(
        job_id, some[0], "preble", "least_delay", 600, 40, 640, 0.5, weighed
    )  # fmt: skip


# What is measured.


async def _pages(client: httpx2.AsyncClient, jobs: int) -> dict[str, dict[str, float]]:
    newest, old = f"job_{jobs - 1:032x}", f"job_{jobs // 2:032x}"
    paths = (
        "/ui/fleet", "/ui/fleet/panel", "/ui/prefixes", "/ui/prefixes?instance=gpu00", "/ui/jobs",
        "/ui/jobs?status=failed", "/ui/jobs?tenant=t3&status=completed",
        f"/ui/jobs?after={jobs // 2}", f"/ui/jobs/{newest}", f"/ui/jobs/{old}",
        "/ui/batches", "/ui/latency", "/ui/dead",
    )  # fmt: skip
    await _until(lambda: _has_icicles(client))
    taken: dict[str, list[float]] = {path: [] for path in paths}
    sizes: dict[str, int] = {}
    for _ in range(ROUNDS):
        for path in paths:
            began_s = time.perf_counter()
            reply = await client.get(path)
            taken[path].append(1_000 * (time.perf_counter() - began_s))
            assert reply.is_success, (path, reply.text[:300])  # noqa: S101
            sizes[path] = len(reply.content)
        await asyncio.sleep(PAUSE_S)
    return {
        path: {"median": round(median(each), 1), "most": round(max(each), 1),
               "kilobytes": round(sizes[path] / 1_000, 1)}
        for path, each in taken.items()
    }  # fmt: skip


async def _has_icicles(client: httpx2.AsyncClient) -> bool:
    return 'svg class="icicle"' in (await client.get("/ui/prefixes")).text


async def _shown(client: httpx2.AsyncClient, jobs: int) -> dict[str, object]:
    """`GET /v1/jobs/{id}`, alone and while others watch."""
    alone = await _asked_often(client, jobs)
    # In a process of its own: what it does itself must not count.
    command = (sys.executable, "-m", "benchmarks.console", "--watch", str(client.base_url))
    watching = await asyncio.create_subprocess_exec(*command)
    try:
        await asyncio.sleep(PAUSE_S)
        watched = await _asked_often(client, jobs)
    finally:
        watching.kill()
        await watching.wait()
    return {"alone": alone, f"{WATCHERS} browsers on every page": watched}


async def _asked_often(client: httpx2.AsyncClient, jobs: int) -> dict[str, float]:
    taken: list[float] = []
    until_s = time.monotonic() + 10
    while time.monotonic() < until_s:
        began_s = time.perf_counter()
        await client.get(f"/v1/jobs/job_{jobs - 1 - len(taken) % 1_000:032x}")
        taken.append(1_000 * (time.perf_counter() - began_s))
        await asyncio.sleep(0.01)
    taken.sort()
    return {"median": round(median(taken), 2), "p99": round(taken[int(0.99 * len(taken))], 2)}


async def _watch(url: str) -> None:
    """As often as the pages of so many browsers ask, until killed."""
    async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        looks = [_look(client, *each) for each in PERIODS_S.items() for _ in range(WATCHERS)]
        await asyncio.gather(*looks)


async def _look(client: httpx2.AsyncClient, path: str, period_s: float) -> None:
    await asyncio.sleep(random.random() * period_s)  # noqa: S311  # not all at once
    while True:
        await client.get(path)
        await asyncio.sleep(period_s)


if __name__ == "__main__":
    sys.exit(main())

"""A large pool: instances with their snapshots, and jobs in history.

One job of each tenant goes the whole way through the broker's own scripts, and Lua copies their
records under new ids into the same lists; the newest of them have decisions and results, too.
"""

import random
from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from preble.broker.keys import job_prefix
from preble.broker.redis import RedisBroker
from preble.clock import unix_s
from preble.config import Settings
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
from preble.tokenizer import load_tokenizer

TENANTS: Final = 10
CANDIDATES: Final = 16
WHOLE: Final = 2_000
"""Jobs, the newest, that are copied with decision and result."""

FAILED_EACH: Final = 200
"""One job in so many has failed."""

LEASE_S: Final = 3_600.0
"""Longer than it takes to measure: nobody renews it."""

CHUNK: Final = 1_000

COPY: Final = """
local first, count, total, now, pool, prefix = unpack(ARGV, 1, 6)
for i = first, first + count - 1 do
  local tenant = 't' .. i % 10
  local failed = i % tonumber(ARGV[8]) == 0
  local template = failed and 'failed' or tenant
  local job = prefix .. string.format('%032x', i)
  local at = now - (total - i) * 10
  redis.call('COPY', 'rq:job:' .. template, 'rq:job:' .. job)
  redis.call('HSET', 'rq:job:' .. job, 'preble_order', i + 100, 'preble_submitted_ms', at,
    'preble_started_ms', at + 20 + i % 300, 'preble_ended_ms', at + 100 + i % 3000)
  if total - i < tonumber(ARGV[7]) then
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


def job_name(settings: Settings, number: int) -> str:
    """The id of a job in history.

    Args:
        settings: Whose pool it is of.
        number: Which, from 1 for the oldest.
    """
    return f"{job_prefix(settings.pool)}{number:032x}"


async def fill(settings: Settings, jobs: int, instances: int, blocks: int) -> None:
    """Give an empty pool what it is to have.

    Args:
        settings: Which pool, and where.
        jobs: In history.
        instances: Registered.
        blocks: Cached, of all of them.
    """
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
        pool, prefix = f"preble:{settings.pool}:", job_prefix(settings.pool)
        for first in range(1, jobs + 1, CHUNK):
            number = min(CHUNK, jobs + 1 - first)
            await copy(args=[first, number, jobs, now_ms, pool, prefix, WHOLE, FAILED_EACH])


async def _instance(
    broker: RedisBroker, settings: Settings, number: int, blocks: int
) -> InstanceRecord:
    record = InstanceRecord(
        InstanceId(f"gpu{number:02}"), "e", "noop", 64, 2 * blocks * settings.block_size,
        settings.cost_model,
    )  # fmt: skip
    await broker.register(record, lease_s=LEASE_S)
    report = InstanceReport(blocks * 20, 1_000_000, 700_000)
    await broker.renew(record, [], lease_s=LEASE_S, report=report)
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
        records[0], number=1, jobs=100, tokens=10_000_000, num_held=0, lease_s=LEASE_S
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

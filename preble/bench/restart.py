"""`preble bench restart`: how long a new scheduler takes until it decides with full knowledge.

A private Valkey holds what a pool leaves there: instances with their snapshots, and one job
that waits, whose prompt one instance holds whole. Then a scheduler process is started, and
timed until it has placed the job there.
"""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from preble.broker.redis import RedisBroker
from preble.config import Settings, to_environ
from preble.errors import PrebleError
from preble.messages import (
    Assignment,
    BlocksStored,
    InstanceId,
    InstanceRecord,
    JobId,
    JobSpec,
    PoolRecord,
    SamplingParams,
    Snapshot,
    Submission,
    pack_keys,
    pack_tokens,
)
from preble.serve.embedded_redis import is_serving, redis_url, valkey_binary, valkey_command
from preble.serve.network import claim_port

RUN_BLOCKS: Final = 16
PROMPT_BLOCKS: Final = 128
LEASE_S: Final = 600.0
MOST_S: Final = 60.0
POLL_S: Final = 0.005


class RestartFigures(msgspec.Struct, frozen=True):
    """What it took, in seconds from the start of the process."""

    cached_blocks: int
    instances: int
    import_s: float
    """Of a Python that only imports the scheduler process."""
    first_decision_s: float
    available_hit_tokens: int
    predicted_hit_tokens: int


class RestartFailed(PrebleError):
    """The scheduler did not place the job."""


def run(
    settings: Settings, *, blocks: int, instances: int, say: Callable[[str], None]
) -> RestartFigures:
    """Measure one start.

    Args:
        settings: Of the pool; its Redis is a private one.
        blocks: Distinct cached blocks, spread over the instances.
        instances: How many.
        say: Told what is being done.

    Raises:
        RestartFailed: If the scheduler places nothing within a minute.
    """
    return asyncio.run(_measure(settings, blocks, instances, say))


async def _measure(
    settings: Settings, blocks: int, instances: int, say: Callable[[str], None]
) -> RestartFigures:
    async with _valkey() as url:
        settings = msgspec.structs.replace(settings, redis_url=url, log_level="warning")
        broker = RedisBroker.from_settings(settings)
        try:
            say(f"saving {blocks} blocks of {instances} instances")
            keys = await _fill(broker, settings, blocks, instances)
            job_id = await _submit(broker, settings, keys)
            say("starting a scheduler")
            import_s = _import_s()
            started_s = time.monotonic()
            with _scheduler(settings):
                assignment = await _await_assignment(broker, job_id)
                took_s = time.monotonic() - started_s
        finally:
            await broker.close()
    return RestartFigures(
        blocks, instances, round(import_s, 3), round(took_s, 3),
        assignment.available_hit_tokens, assignment.predicted_hit_tokens,
    )  # fmt: skip


@asynccontextmanager
async def _valkey() -> AsyncGenerator[str]:
    with tempfile.TemporaryDirectory(prefix="preble-bench-") as folder:
        port = claim_port("127.0.0.1", 0)
        command = valkey_command(valkey_binary(), Path(folder), port)
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
        try:
            async with asyncio.timeout(MOST_S):
                while not await is_serving(port, process.pid):  # noqa: ASYNC110  # not ours
                    await asyncio.sleep(POLL_S)
            yield redis_url(port)
        finally:
            process.terminate()
            await process.wait()


async def _fill(
    broker: RedisBroker, settings: Settings, blocks: int, instances: int
) -> Sequence[int]:
    """Register instances with snapshots. Returns the keys of a prompt that the last one holds."""
    await broker.agreement.join_pool(PoolRecord("bench", "", 1, settings.context_length, 64, 16))
    chance = random.Random(0)  # noqa: S311  # the same keys in each run
    keys: list[int] = []
    for number in range(instances):
        instance_id = InstanceId(f"gpu{number:03}")
        capacity_tokens = blocks // instances * settings.block_size
        record = InstanceRecord(instance_id, "e", "noop", 64, capacity_tokens, settings.cost_model)
        await broker.register(record, lease_s=LEASE_S)
        runs, keys = _runs(chance, blocks // instances)
        await broker.bulletin.save_snapshot(Snapshot(instance_id, "e", 1, runs))
    return keys


def _runs(chance: random.Random, blocks: int) -> tuple[tuple[BlocksStored, ...], list[int]]:
    """A snapshot of prompts that each store 8 runs. Also returns the last prompt's keys."""
    runs: list[BlocksStored] = []
    prompt: list[int] = []
    for start in range(0, blocks, RUN_BLOCKS):
        if start % PROMPT_BLOCKS == 0:
            prompt = []
        keys = [chance.getrandbits(64) for _ in range(RUN_BLOCKS)]
        runs.append(BlocksStored(pack_keys(keys), prompt[-1] if prompt else None))
        prompt += keys
    return tuple(runs), prompt


async def _submit(broker: RedisBroker, settings: Settings, keys: Sequence[int]) -> JobId:
    job_id, tokens = JobId("bench"), len(keys) * settings.block_size + 1
    spec = JobSpec(tokens, SamplingParams(max_new_tokens=1))
    submission = Submission(job_id, spec, pack_tokens([0] * tokens), pack_keys(keys))
    await broker.admit([[submission]])
    return job_id


def _import_s() -> float:
    started_s = time.monotonic()
    command = [sys.executable, "-c", "import preble.scheduler_process"]
    subprocess.run(command, check=True)  # noqa: S603  # our own
    return time.monotonic() - started_s


@contextmanager
def _scheduler(settings: Settings) -> Generator[None]:
    command = [sys.executable, "-m", "preble.scheduler_process"]
    environ = {**os.environ, **to_environ(settings)}
    process = subprocess.Popen(command, env=environ)  # noqa: S603  # our own
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def _await_assignment(broker: RedisBroker, job_id: JobId) -> Assignment:
    deadline_s = time.monotonic() + MOST_S
    while time.monotonic() < deadline_s:
        view = await broker.view(job_id)
        if view is not None and view.assignment is not None:
            return view.assignment
        await asyncio.sleep(POLL_S)
    msg = f"the scheduler placed nothing within {MOST_S:g} s"
    raise RestartFailed(msg)

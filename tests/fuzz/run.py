"""One run: a real stack, many requests, and a look at what remains."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fuzz.described import described
from fuzz.framing import MOST_BODY_BYTES
from fuzz.remains import Footprint, footprint, job_states, lost, open_jobs, unexplained
from fuzz.report import Report
from fuzz.volley import Volley
from processes import Stack, stack
from redis import Redis
from support import eventually

DESCRIBED_SHARE: Final = 0.3
"""Of the requests; those that schemathesis makes cost some 20 ms each."""

WARM_SHARE: Final = 0.3
"""Of the requests, before the api's memory is looked at for the first time."""

MOST_GROWTH: Final = 1.2
SPARE_BYTES: Final = 16 * 1024 * 1024
SPARE_FILES: Final = 4
SETTLE_S: Final = 120.0

_HEALTHY: Final[dict[str, object]] = {"prompt": "hello", "sampling_params": {"max_new_tokens": 3}}


def run(folder: Path, *, requests: int, seed: int) -> Report:
    """Start a stack, send so many requests to it, and judge.

    Args:
        folder: For logs and Redis's file.
        requests: How many.
        seed: Makes them the same each time; their order in time differs.
    """
    report = Report()
    with (
        stack(folder, emulated_speed="1000", max_body_bytes=str(MOST_BODY_BYTES)) as running,
        _redis(running) as redis,
    ):
        _require_health(running)
        made = described(running.url, number=int(requests * DESCRIBED_SHARE), run_seed=seed)
        volley = Volley(running.url, requests=requests, described=made, seed=seed, report=report)
        began_s, warm_at = time.monotonic(), int(requests * WARM_SHARE)
        volley.send(range(warm_at))
        warm = _settled(running, redis)
        volley.send(range(warm_at, requests))
        report.notes.append(
            f"seed {seed}: sent within {time.monotonic() - began_s:.0f} s, "
            f"{report.longest_s:.1f} s at most for one"
        )
        judge_api(report, warm, _settled(running, redis))
        _judge_queue(report, redis)
        _require_health(running)
        report.faults += [f"the {name} has logged a traceback" for name in _complaining(running)]
    return report


@contextmanager
def _redis(running: Stack) -> Generator[Redis]:
    with Redis(port=running.redis_port, decode_responses=True) as client:
        yield client


def _require_health(running: Stack) -> None:
    """A good job is still done. Raises: TimeoutError."""
    [job_id] = running.submit([_HEALTHY])
    eventually(lambda: running.job(job_id)["status"] == "completed")


def _settled(running: Stack, redis: Redis) -> Footprint:
    """The api's footprint once all jobs have ended. Raises: TimeoutError."""
    eventually(lambda: open_jobs(redis) == 0, within_s=SETTLE_S)
    return footprint(running.processes["api"].pid)


def judge_api(report: Report, warm: Footprint, end: Footprint) -> None:
    """Whether the api keeps what it was sent."""
    megabytes = [each.rss_bytes / 1e6 for each in (warm, end)]
    report.notes.append(
        f"api: {megabytes[0]:.0f} MB and {warm.open_files} files when warm, "
        f"{megabytes[1]:.0f} MB and {end.open_files} at the end"
    )
    if end.rss_bytes > warm.rss_bytes * MOST_GROWTH + SPARE_BYTES:
        report.faults.append("the api's memory grew")
    if end.open_files > warm.open_files + SPARE_FILES:
        report.faults.append("the api keeps files open")


def _judge_queue(report: Report, redis: Redis) -> None:
    states = job_states(redis)
    report.notes.append(f"{len(report.accepted):,} jobs accepted, {len(states):,} in Redis")
    if missing := lost(states, report.accepted):
        report.faults.append(f"accepted and not ended: {missing[:5]}")
    # One more than the requests: the healthy job at the beginning.
    if len(states) > len(report.accepted) + report.untold_jobs + 1:
        report.faults.append("there are jobs that nobody submitted")
    if strange := unexplained(redis, states.keys()):
        report.faults.append(f"keys that no job explains: {strange[:20]}")


def _complaining(running: Stack) -> list[str]:
    return [name for name in running.processes if "Traceback" in running.log(name)]

"""What is asked of the api: each page, and one job while others watch and while none does.

A machine is busy with other things, too, now more and now less. So phases with and without watchers
take turns, and each is compared with the one before it; and CPU seconds of the api are told, which
others do not change by much.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final, NamedTuple

import httpx2

from benchmarks.console.fill import job_name
from benchmarks.console.stack import until
from benchmarks.console.watching import WATCHERS, Watchers
from preble.bench.cpu import cpu_us_by_kind
from preble.config import Settings
from preble.quantiles import quantile

ROUNDS: Final = 6
PAUSE_S: Final = 5.2
"""Longer than any page is remembered."""

PHASES: Final = 10
"""Of each kind."""

SETTLE_S: Final = 1.5
"""In which watchers that were stopped have caught up."""

PHASE_S: Final = 4.0
ASK_EACH_S: Final = 0.02
KINDS: Final = ("api", "redis")
"""Processes whose CPU counts."""


async def pages(
    client: httpx2.AsyncClient, settings: Settings, jobs: int
) -> dict[str, dict[str, float]]:
    """Milliseconds of each page, with the way through the socket; all that is remembered is old."""
    newest, old = job_name(settings, jobs - 1), job_name(settings, jobs // 2)
    paths = (
        "/ui/fleet", "/ui/fleet/panel", "/ui/prefixes", "/ui/prefixes?instance=gpu00", "/ui/jobs",
        "/ui/jobs?status=failed", "/ui/jobs?tenant=t3&status=completed",
        f"/ui/jobs?after={jobs // 2}", f"/ui/jobs/{newest}", f"/ui/jobs/{old}",
        "/ui/batches", "/ui/latency", "/ui/dead",
    )  # fmt: skip
    await until(lambda: _has_icicles(client))
    taken: dict[str, list[float]] = {path: [] for path in paths}
    sizes: dict[str, int] = {}
    for _ in range(ROUNDS):
        for path in paths:
            began_s = time.perf_counter()
            sizes[path] = len(await _asked(client, path))
            taken[path].append(1_000 * (time.perf_counter() - began_s))
        await asyncio.sleep(PAUSE_S)
    return {
        path: {"median": round(median(each), 1), "most": round(max(each), 1),
               "kilobytes": round(sizes[path] / 1_000, 1)}
        for path, each in taken.items()
    }  # fmt: skip


async def _has_icicles(client: httpx2.AsyncClient) -> bool:
    return b'svg class="icicle"' in await _asked(client, "/ui/prefixes")


async def _asked(client: httpx2.AsyncClient, path: str) -> bytes:
    reply = await client.get(path)
    assert reply.is_success, (path, reply.text[:300])  # noqa: S101
    return reply.content


class _Phase(NamedTuple):
    """One stretch of asking for jobs over the api."""

    median_ms: float
    p99_ms: float
    cpu: dict[str, float]
    """Seconds a second, by process."""


async def unaffected(
    client: httpx2.AsyncClient, settings: Settings, jobs: int, watchers: Watchers
) -> dict[str, object]:
    """`GET /v1/jobs/{id}`, alone and while others watch, in turns; and what that takes of CPU."""
    paths = [f"/v1/jobs/{job_name(settings, jobs - 1 - number)}" for number in range(1_000)]
    alone: list[_Phase] = []
    watched: list[_Phase] = []
    for _ in range(PHASES):
        watchers.pause()
        alone.append(await _phase(client, paths))
        watchers.resume()
        watched.append(await _phase(client, paths))
    turns = list(zip(alone, watched, strict=True))
    return {
        "alone": _told(alone),
        f"{WATCHERS} browsers on every page": _told(watched),
        "ratio": {
            "median": _middle(w.median_ms / a.median_ms for a, w in turns),
            "p99": _middle(w.p99_ms / a.p99_ms for a, w in turns),
        },
        "cpu_s_per_s_of_the_browsers": {
            kind: _middle(w.cpu[kind] - a.cpu[kind] for a, w in turns) for kind in KINDS
        },
    }


async def _phase(client: httpx2.AsyncClient, paths: Sequence[str]) -> _Phase:
    await asyncio.sleep(SETTLE_S)
    began_s, before_us = time.monotonic(), cpu_us_by_kind(os.getpid())
    taken = sorted(await _asked_often(client, paths, began_s))
    took_us, after_us = 1e6 * (time.monotonic() - began_s), cpu_us_by_kind(os.getpid())
    cpu = {kind: (after_us[kind] - before_us[kind]) / took_us for kind in KINDS}
    return _Phase(median(taken), quantile(taken, 0.99), cpu)


async def _asked_often(
    client: httpx2.AsyncClient, paths: Sequence[str], began_s: float
) -> list[float]:
    """Milliseconds. So many a second, however long each takes: else CPU could not be compared."""
    taken: list[float] = []
    for number in range(int(PHASE_S / ASK_EACH_S)):
        await asyncio.sleep(began_s + number * ASK_EACH_S - time.monotonic())
        asked_s = time.perf_counter()
        await _asked(client, paths[number % len(paths)])
        taken.append(1_000 * (time.perf_counter() - asked_s))
    return taken


def _told(phases: Sequence[_Phase]) -> dict[str, object]:
    return {
        "median_ms": _middle(each.median_ms for each in phases),
        "p99_ms": _middle(each.p99_ms for each in phases),
        "cpu_s_per_s": {kind: _middle(each.cpu[kind] for each in phases) for kind in KINDS},
    }


def _middle(values: Iterable[float]) -> float:
    """One phase in which the machine was busy does not move it."""
    return round(median(values), 3)

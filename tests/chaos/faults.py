"""Every kind of fault: what is broken, for how long, and how it is healed."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from chaos.pool import APIS, SCHEDULERS, Pool
from chaos.redis_server import FULL_BYTES, JUMP_S

Victim = Literal["api", "leader", "standby", "worker", "last worker", "redis"]
Act = Callable[[Pool, str, float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    Args:
        name: As reports show it.
        victim: What it breaks.
        act: Breaks it, and returns when it is healed.
        hold_s: Shortest and longest time until it is healed.
        weight: How often, beside others.
    """

    name: str
    victim: Victim
    act: Act
    hold_s: tuple[float, float]
    weight: float = 1.0


async def _kill(pool: Pool, name: str, hold_s: float) -> None:
    pool.kill(name)
    await asyncio.sleep(hold_s)
    pool.launch(name)


async def _pause(pool: Pool, name: str, hold_s: float) -> None:
    pool.signal(name, signal.SIGSTOP)
    try:
        await asyncio.sleep(hold_s)
    finally:
        pool.signal(name, signal.SIGCONT)


async def _restart(pool: Pool, name: str, hold_s: float) -> None:
    await pool.end(name)
    await asyncio.sleep(hold_s)
    pool.launch(name)


async def _crash_engine(pool: Pool, name: str, hold_s: float) -> None:
    await asyncio.to_thread(pool.await_handler, name, signal.SIGUSR1)
    pool.signal(name, signal.SIGUSR1)
    await asyncio.sleep(hold_s)


async def _cut(pool: Pool, name: str, hold_s: float) -> None:
    await _turn(pool, name, "cut", hold_s)


async def _stall(pool: Pool, name: str, hold_s: float) -> None:
    await _turn(pool, name, "stalled", hold_s)


async def _lose_replies(pool: Pool, name: str, hold_s: float) -> None:
    await _turn(pool, name, "lossy", hold_s)


async def _copy_late(pool: Pool, name: str, hold_s: float) -> None:
    await _turn(pool, name, "late", hold_s)


async def _turn(
    pool: Pool, name: str, mode: Literal["cut", "stalled", "lossy", "late"], hold_s: float
) -> None:
    pool.links.turn(name, mode)
    try:
        await asyncio.sleep(hold_s)
    finally:
        pool.links.turn(name, "open")


async def _pull_cable(pool: Pool, name: str, hold_s: float) -> None:
    del name
    assert pool.namespace
    pool.namespace.pull()
    try:
        await asyncio.sleep(hold_s)
    finally:
        pool.namespace.plug()


async def _kill_redis(pool: Pool, name: str, hold_s: float) -> None:
    del name
    pool.server.kill()
    await asyncio.sleep(hold_s)
    await asyncio.to_thread(pool.server.start)


async def _pause_redis(pool: Pool, name: str, hold_s: float) -> None:
    del name
    pool.server.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(hold_s)
    finally:
        pool.server.signal(signal.SIGCONT)


async def _cut_clients(pool: Pool, name: str, hold_s: float) -> None:
    del name
    await asyncio.to_thread(pool.server.cut_clients)
    await asyncio.sleep(hold_s)
    await asyncio.to_thread(pool.server.cut_clients)


async def _fill_redis(pool: Pool, name: str, hold_s: float) -> None:
    del name
    await asyncio.to_thread(pool.server.limit, FULL_BYTES)
    try:
        await asyncio.sleep(hold_s)
    finally:
        await asyncio.to_thread(pool.server.limit, 0)


async def _fill_disk(pool: Pool, name: str, hold_s: float) -> None:
    del name
    assert pool.disk
    pool.disk.fill()
    try:
        await asyncio.sleep(hold_s)
    finally:
        pool.disk.free()
    await asyncio.to_thread(pool.server.rewrite)


async def _jump(pool: Pool, name: str, hold_s: float) -> None:
    del name
    pool.server.set_clock(JUMP_S)
    try:
        await asyncio.sleep(hold_s)
    finally:
        pool.server.set_clock(0)


# Leases are 2 s (leaders 3 s): what is held for longer loses them, what is held for less does not.
KINDS: Final = (
    Kind("api killed", "api", _kill, (0, 1.5)),
    Kind("leader killed", "leader", _kill, (0, 1.5)),
    Kind("standby killed", "standby", _kill, (0, 1.5), weight=0.5),
    Kind("worker killed", "worker", _kill, (0, 3), weight=2),
    Kind("api stopped", "api", _pause, (0.5, 6)),
    Kind("leader stopped", "leader", _pause, (2, 6)),
    Kind("worker stopped", "worker", _pause, (1, 6), weight=1.5),
    Kind("api restarted", "api", _restart, (0, 0.5)),
    Kind("leader restarted", "leader", _restart, (0, 0.5)),
    Kind("worker restarted", "worker", _restart, (0, 0.5), weight=1.5),
    Kind("engine crashed", "worker", _crash_engine, (0.5, 1)),
    Kind("redis killed", "redis", _kill_redis, (0, 2)),
    Kind("redis stopped", "redis", _pause_redis, (0.5, 4)),
    Kind("redis stopped for long", "redis", _pause_redis, (8, 30), weight=0.15),
    Kind("redis closed connections", "redis", _cut_clients, (0, 1)),
    Kind("redis full", "redis", _fill_redis, (0.5, 4)),
    Kind("api cut off", "api", _cut, (0.5, 4)),
    Kind("leader cut off", "leader", _cut, (0.5, 5)),
    Kind("worker cut off", "worker", _cut, (0.5, 5)),
    Kind("api stalled", "api", _stall, (0.5, 8)),
    Kind("leader stalled", "leader", _stall, (0.5, 8)),
    Kind("worker stalled", "worker", _stall, (0.5, 8)),
    Kind("replies to api lost", "api", _lose_replies, (1, 3)),
    Kind("replies to leader lost", "leader", _lose_replies, (1, 3)),
    Kind("replies to worker lost", "worker", _lose_replies, (1, 3)),
    # Not of an api: a late ADMIT may take what its client was refused meanwhile, and gave up.
    Kind("calls of leader come late", "leader", _copy_late, (1, 3)),
    Kind("calls of worker come late", "worker", _copy_late, (1, 3)),
)
CABLE_PULLED: Final = Kind("worker's cable pulled", "last worker", _pull_cable, (0.5, 8))
DISK_FULL: Final = Kind("disk full", "redis", _fill_disk, (0.5, 4))
CLOCK_JUMPED: Final = Kind("clock jumped", "redis", _jump, (1, 3), weight=0.5)


def victim_of(pool: Pool, victim: Victim, pick: int) -> str:
    """The process that it means just now; `redis` itself."""
    match victim:
        case "leader":
            return pool.leader()
        case "standby":
            return pool.standby()
        case "api":
            return APIS[pick % len(APIS)]
        case "worker":
            return pool.workers[pick % len(pool.workers)]
        case "last worker":
            return pool.workers[-1]
        case "redis":
            return "redis"


def reserved_by(pool: Pool, victim: Victim, pick: int) -> str:
    """What no other fault may touch meanwhile: schedulers go together, for they change roles."""
    match victim:
        case "leader" | "standby":
            return SCHEDULERS[0]
        case "api":
            return APIS[pick % len(APIS)]
        case "worker":
            return pool.workers[pick % len(pool.workers)]
        case "last worker":
            return pool.workers[-1]
        case "redis":
            return "redis"

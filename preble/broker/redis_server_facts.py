"""What a Redis server says of itself: INFO, its slow log, and how long a ping takes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from preble.broker.facts import ServerFacts, SlowCommand
from preble.broker.redis_client import Client, translated
from preble.clock import Clock

PINGS: Final = 50
SLOW_MS: Final = 100.0
"""A command that takes so long is worth telling: nothing else is answered meanwhile."""

_SLOW_LOG_READ: Final = 64
_WRITES: Final = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")


async def collect_server_facts(client: Client, clock: Clock) -> ServerFacts:
    """Ask a server how it does.

    What an account without rights, or a hosted server, is not told stays unknown.

    Raises:
        BrokerUnavailable: If it cannot be reached.
        BrokerError: If it does not even answer INFO.

    Cost: 51 round trips.
    """
    with translated():
        round_trips_ms = await _ping(client, clock)
        async with client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command("INFO")
            pipeline.execute_command("CONFIG", "GET", "appendfsync")
            pipeline.execute_command("CONFIG", "GET", "min-replicas-to-write")
            pipeline.execute_command("SLOWLOG", "GET", _SLOW_LOG_READ)
            pipeline.execute_command("TIME")
            info, fsync, least, slow_log, now = await pipeline.execute(raise_on_error=False)
        if isinstance(info, Exception):
            raise info
    return ServerFacts(
        **_identity(info), **_memory(info), **_disk(info, fsync), round_trips_ms=round_trips_ms,
        slow_commands=_slow_commands(slow_log, now),
        min_replicas_to_write=_least_replicas(least),
    )  # fmt: skip


async def _ping(client: Client, clock: Clock) -> tuple[float, ...]:
    """Milliseconds of each of some pings, after one that opens the connection."""
    await client.execute_command("PING")
    took_ms: list[float] = []
    for _ in range(PINGS):
        began_s = clock.now_s()
        await client.execute_command("PING")
        took_ms.append(1000 * (clock.now_s() - began_s))
    return tuple(took_ms)


def _identity(info: Mapping[str, Any]) -> dict[str, Any]:
    is_valkey = "valkey_version" in info
    return {
        "software": "Valkey" if is_valkey else "Redis",
        # One like `8.1` would have been read as a number.
        "version": str(info["valkey_version" if is_valkey else "redis_version"]),
        "mode": info.get("server_mode") or info.get("redis_mode", "standalone"),
        "role": info.get("role", "master"),
        "replicas": info.get("connected_slaves", 0),
    }


def _memory(info: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "maxmemory_bytes": info.get("maxmemory", 0),
        "maxmemory_policy": info.get("maxmemory_policy", "noeviction"),
        "used_memory_bytes": info.get("used_memory", 0),
        "system_memory_bytes": info.get("total_system_memory", 0),
        "evicted_keys": info.get("evicted_keys", 0),
    }


def _disk(info: Mapping[str, Any], fsync: Sequence[bytes] | Exception) -> dict[str, Any]:
    return {
        "is_append_only": bool(info.get("aof_enabled", 0)),
        "appendfsync": None if isinstance(fsync, Exception) or not fsync else fsync[1].decode(),
        "failing_writes": tuple(name for name in _WRITES if info.get(name, "ok") != "ok"),
    }


def _least_replicas(least: Sequence[bytes] | Exception) -> int | None:
    return None if isinstance(least, Exception) or not least else int(least[1])


def _slow_commands(
    slow_log: Sequence[Sequence[Any]] | Exception, now: tuple[int, int] | Exception
) -> tuple[SlowCommand, ...]:
    """Without their arguments: these hold prompts."""
    if isinstance(slow_log, Exception) or isinstance(now, Exception):
        return ()
    return tuple(
        SlowCommand(arguments[0].decode(), took_us / 1000, max(0.0, float(now[0] - at_s)))
        for _, at_s, took_us, arguments, *_ in slow_log
        if took_us >= 1000 * SLOW_MS
    )

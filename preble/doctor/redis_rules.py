"""What is asked of the Redis server: that it keeps what it accepted, and answers at once."""

import re
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Final

from preble.broker.facts import ServerFacts
from preble.doctor.findings import NEARLY_FULL, Finding, lasting, several, size

OLDEST: Final[Mapping[str, tuple[int, int]]] = {"Redis": (7, 0), "Valkey": (7, 2)}
"""The first versions whose scripts may carry flags."""

SLOW_ROUND_TRIP_MS: Final = 5.0
RECENT_S: Final = 600.0

_TO_KEEP: Final = "; then `redis-cli CONFIG REWRITE`"


def examine(server: ServerFacts) -> Iterator[Finding]:
    """Findings about one server."""
    yield from _version(server)
    yield from _place(server)
    yield from _persistence(server)
    yield from _failing_writes(server)
    yield from _memory(server)
    yield from _policy(server)
    yield from _latency(server)
    yield from _slow_commands(server)


def _version(server: ServerFacts) -> Iterator[Finding]:
    seen = f"{server.software} {server.version}"
    why = "Preble's scripts carry flags, which Redis knows from 7.0 on and Valkey from 7.2 on."
    numbers = tuple(int(number) for number in re.findall(r"\d+", server.version)[:2])
    if numbers < OLDEST[server.software]:
        yield Finding("broken", "redis", seen, why, "upgrade it to Redis 7.0, Valkey 7.2 or newer")
    else:
        yield Finding("note", "redis", seen, why)


def _place(server: ServerFacts) -> Iterator[Finding]:
    remedy = "set PREBLE_REDIS_URL to a primary of its own"
    if server.mode != "standalone":
        why = "The scripts build key names themselves, so a pool lives on one primary."
        yield Finding("broken", "redis", f"the server is a {server.mode}", why, remedy)
    elif server.role != "master":
        why = "A replica refuses every write: nothing is accepted, and nothing finishes."
        remedy = "set PREBLE_REDIS_URL to its primary"
        yield Finding("broken", "redis", "the server is a replica", why, remedy)
    elif server.replicas:
        seen = f"{several(server.replicas, 'replica')} connected"
        why = "They follow a moment behind: a failover may lose the newest jobs."
        yield Finding("note", "redis", seen, why)


def _persistence(server: ServerFacts) -> Iterator[Finding]:
    fsync = server.appendfsync
    if not server.is_append_only:
        yield Finding(
            "warning", "redis", "appendonly is off",
            "Accepted jobs are lost when the server stops or dies.",
            f"redis-cli CONFIG SET appendonly yes{_TO_KEEP}",
        )  # fmt: skip
    elif fsync == "no":
        yield Finding(
            "warning", "redis", "appendfsync is no",
            "A power cut may take half a minute of accepted jobs.",
            f"redis-cli CONFIG SET appendfsync everysec{_TO_KEEP}",
        )  # fmt: skip
    elif fsync == "everysec":
        yield Finding(
            "note", "redis", "appendfsync is everysec",
            "A power cut may take the last 2 s or so; the death of a process takes "
            "nothing while the disk keeps up.",
            "if that is too much: redis-cli CONFIG SET appendfsync always, at the price of a "
            "disk write for each change",
        )  # fmt: skip
    elif fsync is None:
        yield Finding(
            "note", "redis", "appendfsync is not told",
            "It says how much a power cut may take.",
            "allow CONFIG GET, or ask who runs the server",
        )  # fmt: skip


def _failing_writes(server: ServerFacts) -> Iterator[Finding]:
    for field in server.failing_writes:
        if field.startswith("aof_"):
            why = "The append-only file cannot be written: new jobs are refused, or not kept."
            yield Finding(
                "broken", "redis", f"{field} is err", why,
                "free space on the server's disk (`df`); then, before anything restarts it: "
                "redis-cli BGREWRITEAOF, for a file that a full disk cut short may not load",
            )  # fmt: skip
        else:
            yield Finding(
                "warning", "redis", f"{field} is err",
                "With save points set, the server refuses writes until a snapshot succeeds.",
                "free space on its disk; or, as the append-only file is enough: "
                'redis-cli CONFIG SET save ""',
            )  # fmt: skip


def _memory(server: ServerFacts) -> Iterator[Finding]:
    used, most = server.used_memory_bytes, server.maxmemory_bytes
    bound = most or server.system_memory_bytes
    named = "maxmemory" if most else "the machine's memory; maxmemory is 0"
    seen = f"{size(used)} used" + (f" of {size(bound)}, {named}" if bound else "; maxmemory is 0")
    remedy = (
        "raise maxmemory, or lower PREBLE_MAX_PROMPT_BYTES, PREBLE_MAX_JOBS or "
        "PREBLE_MAX_ENDED_BYTES"
    )
    if most and used >= most:
        why = "The server is full: submits get 503 until jobs have ended."
        yield Finding("broken", "redis", seen, why, remedy)
    elif bound and used > NEARLY_FULL * bound:
        yield Finding("warning", "redis", seen, "A full server takes no new jobs.", remedy)
    elif most:
        yield Finding("note", "redis", seen, "A full server takes no new jobs.")
    else:
        why = "Without a bound, the kernel kills the server when the machine's memory is full."
        yield Finding("note", "redis", seen, why, f"redis-cli CONFIG SET maxmemory 4gb{_TO_KEEP}")


def _policy(server: ServerFacts) -> Iterator[Finding]:
    if server.maxmemory_policy == "noeviction":
        return
    seen = f"maxmemory-policy is {server.maxmemory_policy}"
    remedy = f"redis-cli CONFIG SET maxmemory-policy noeviction{_TO_KEEP}"
    if server.maxmemory_bytes:
        why = "A full server throws accepted jobs, results or the leader's lease away."
        evicted = several(server.evicted_keys, "key")
        yield Finding("broken", "redis", f"{seen}; {evicted} evicted so far", why, remedy)
    else:
        why = "As soon as maxmemory is set, a full server throws accepted jobs away."
        yield Finding("warning", "redis", f"{seen}; maxmemory is 0", why, remedy)


def _latency(server: ServerFacts) -> Iterator[Finding]:
    middle_ms, worst_ms = median(server.round_trips_ms), max(server.round_trips_ms)
    seen = (
        f"a round trip takes {middle_ms:.2f} ms, at worst {worst_ms:.2f} ms "
        f"of {several(len(server.round_trips_ms), 'ping')}"
    )
    why = "Each claim, result and decision waits for one or more."
    if middle_ms > SLOW_ROUND_TRIP_MS:
        remedy = "bring Redis nearer, or give its machine more CPU: `redis-cli --latency`"
        yield Finding("warning", "redis", seen, why, remedy)
    else:
        yield Finding("note", "redis", seen, why)


def _slow_commands(server: ServerFacts) -> Iterator[Finding]:
    if not server.slow_commands:
        return
    slowest = max(server.slow_commands, key=lambda command: command.took_ms)
    newest_s = min(command.ended_ago_s for command in server.slow_commands)
    yield Finding(
        "warning" if newest_s < RECENT_S else "note", "redis",
        f"{several(len(server.slow_commands), 'slow command')}, the slowest {slowest.name} with "
        f"{slowest.took_ms:.0f} ms, the last {lasting(newest_s)} ago",
        "Nothing else is answered meanwhile; after seconds of it leases run out.",
        "redis-cli SLOWLOG GET; keep others' scripts, KEYS and large deletes off this server",
    )  # fmt: skip

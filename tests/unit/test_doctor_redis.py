"""What the doctor asks of a Redis server."""

import pytest
from doctor_support import MIB, SERVER, notes, only, problems
from msgspec.structs import replace

from preble.broker.facts import Facts, ServerFacts, SlowCommand
from preble.config import Settings
from preble.doctor import Finding, Level, examine, worst


def changed(**changes: object) -> ServerFacts:
    return replace(SERVER, **changes)


def test_a_sound_server_only_gets_notes() -> None:
    assert problems(SERVER) == []
    assert "Redis 7.2.4" in notes(SERVER)
    assert "a round trip takes 0.30 ms, at worst 1.50 ms of 3 pings" in notes(SERVER)


@pytest.mark.parametrize(
    ("software", "version", "is_known"),
    [
        ("Redis", "7.0.0", True),
        ("Redis", "6.2.14", False),
        ("Redis", "8.2", True),
        ("Redis", "10.0.1-rc1", True),
        ("Valkey", "7.2.5", True),
        ("Valkey", "7.1.0", False),
        ("Valkey", "9.1.2", True),
    ],
)
def test_scripts_with_flags_need_a_version(software: str, version: str, *, is_known: bool) -> None:
    found = problems(changed(software=software, version=version))
    assert [finding.level for finding in found] == ([] if is_known else ["broken"])


@pytest.mark.parametrize(
    ("changes", "level", "seen", "remedy"),
    [
        ({"is_append_only": False}, "warning", "appendonly is off", "appendonly yes"),
        ({"appendfsync": "no"}, "warning", "appendfsync is no", "appendfsync everysec"),
        ({"failing_writes": ("aof_last_write_status",)}, "broken", "aof_last_write_status", "df"),
        (
            {"failing_writes": ("aof_last_bgrewrite_status",)},
            "broken", "aof_last_bgrewrite_status", "df",
        ),
        ({"failing_writes": ("rdb_last_bgsave_status",)}, "warning", "rdb_last", 'save ""'),
        ({"mode": "cluster"}, "broken", "cluster", "PREBLE_REDIS_URL"),
        ({"mode": "sentinel"}, "broken", "sentinel", "PREBLE_REDIS_URL"),
        ({"role": "slave"}, "broken", "replica", "PREBLE_REDIS_URL"),
        (
            {"maxmemory_policy": "allkeys-lru", "evicted_keys": 12},
            "broken", "allkeys-lru; 12 keys evicted", "maxmemory-policy noeviction",
        ),
        (
            {"maxmemory_policy": "volatile-ttl", "maxmemory_bytes": 0},
            "warning", "volatile-ttl; maxmemory is 0", "maxmemory-policy noeviction",
        ),
        ({"used_memory_bytes": 801 * MIB}, "warning", "801 MiB used of 1000 MiB", "maxmemory"),
        ({"used_memory_bytes": 1000 * MIB}, "broken", "1000 MiB used", "maxmemory"),
        (
            {"maxmemory_bytes": 0, "used_memory_bytes": 3201 * MIB},
            "warning", "3.126 GiB used of 3.906 GiB, the machine's memory", "maxmemory",
        ),
        ({"round_trips_ms": (0.1, 5.1, 9.0)}, "warning", "5.10 ms, at worst 9.00 ms", "latency"),
        (
            {"slow_commands": (SlowCommand("EVALSHA", 140, 599), SlowCommand("KEYS", 900, 9000))},
            "warning", "2 slow commands, the slowest KEYS with 900 ms, the last 10 min", "SLOWLOG",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_has_a_level_a_figure_and_a_remedy(
    changes: dict[str, object], level: str, seen: str, remedy: str
) -> None:
    finding = only(changed(**changes))

    assert (finding.level, finding.subject) == (level, "redis")
    assert seen in finding.seen
    assert remedy in finding.remedy


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({}, "appendfsync is everysec"),
        ({"appendfsync": None}, "appendfsync is not told"),
        ({"replicas": 1}, "1 replica connected"),
        ({"used_memory_bytes": 800 * MIB}, "800 MiB used of 1000 MiB, maxmemory"),
        (
            {"maxmemory_bytes": 0},
            "100 MiB used of 3.906 GiB, the machine's memory; maxmemory is 0",
        ),
        ({"maxmemory_bytes": 0, "system_memory_bytes": 0}, "100 MiB used; maxmemory is 0"),
        (
            {"slow_commands": (SlowCommand("EVALSHA", 140, 700),)},
            "1 slow command, the slowest EVALSHA with 140 ms, the last 12 min ago",
        ),
    ],
)
def test_what_is_worth_knowing_is_a_note(changes: dict[str, object], note: str) -> None:
    server = changed(**changes)

    assert problems(server) == []
    assert note in notes(server)


def test_writes_to_disk_at_each_change_need_no_word() -> None:
    assert not [note for note in notes(changed(appendfsync="always")) if "fsync" in note]


def test_the_worst_comes_first() -> None:
    server = changed(role="slave", is_append_only=False, mode="standalone")

    found = examine(Facts(server, None), Settings())

    levels = [finding.level for finding in found]
    assert levels == sorted(levels, key=["broken", "warning", "note"].index)
    assert levels[:3] == ["broken", "warning", "note"]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([], "note"), (["note", "warning"], "warning"), (["note", "broken", "warning"], "broken")],
)
def test_a_report_is_as_bad_as_its_worst_finding(levels: list[Level], expected: Level) -> None:
    found = [Finding(level, "redis", "seen", "why") for level in levels]

    assert worst(found) == expected


def test_where_no_pool_can_be_only_the_server_is_judged() -> None:
    found = examine(Facts(changed(mode="cluster"), None), Settings())

    assert {finding.subject for finding in found} == {"redis"}

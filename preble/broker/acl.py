"""Accounts of Redis with least rights: one for each role of a pool's processes (ADR 0039).

    role ──▶ RIGHTS: which keys it reads, which it writes ──▶ patterns of names, kept to its pool
      └────▶ commands: those of the scripts, and those that are sent alone

Redis checks keys and commands inside a script as it does outside. So what scripts an account can
load and run does not matter: whatever it runs, it reaches only these keys.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final, Literal, get_args

from preble.broker.keys import KEYS, PoolKeys, job_prefix
from preble.broker.scripts import load_scripts

Role = Literal["api", "scheduler", "worker"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

PASSWORD: Final = "#SHA256_OF_ITS_PASSWORD"  # noqa: S105  # to be replaced
"""Stands where the hash of an account's password belongs."""

RIGHTS: Final[Mapping[str, tuple[str, str, str]]] = {
    # Key: of an api, of a scheduler, of a worker; `r` reads, `w` writes.
    "pool": ("rw", "rw", "rw"),
    "schema": ("rw", "rw", "rw"),
    "weights": ("", "", "rw"),
    "api_keys": ("r", "", ""),
    "ingresses": ("rw", "rw", ""),
    "staged": ("rw", "", ""),
    "prompt": ("w", "w", "rw"),
    "block_keys": ("w", "rw", "w"),
    "decision": ("rw", "rw", "rw"),
    "counts": ("rw", "rw", "rw"),
    "totals": ("rw", "rw", "rw"),
    "leases": ("w", "rw", "rw"),
    "tenants": ("rw", "rw", "rw"),
    "rate": ("rw", "", ""),
    "deadlines": ("w", "rw", "w"),
    "jobs": ("rw", "w", "w"),
    "jobs_in": ("rw", "w", "w"),
    "ended": ("rw", "rw", "rw"),
    "dead": ("rw", "rw", "rw"),
    "webhooks": ("rw", "rw", "rw"),
    "webhook": ("rw", "w", "w"),
    "dead_webhooks": ("rw", "rw", "rw"),
    "leader": ("", "rw", ""),
    "leader_epoch": ("", "rw", ""),
    "beat": ("", "rw", ""),
    "rollback": ("", "rw", ""),
    "confirmed": ("w", "", "w"),
    "custody": ("rw", "", ""),
    "inbox": ("rw", "w", "w"),
    "log": ("rw", "w", "w"),
    "signals": ("w", "rw", "w"),
    "instances": ("r", "rw", "rw"),
    "instance": ("r", "rw", "rw"),
    "drained": ("rw", "r", "r"),
    "events": ("r", "rw", "w"),
    "snapshot": ("r", "rw", "w"),
    "doorbell": ("", "w", "rw"),
    "recalls": ("w", "w", "r"),
    "queues": ("w", "rw", "w"),
    "queue": ("rw", "rw", "rw"),
    "job": ("rw", "rw", "rw"),
    "results": ("r", "w", "w"),
    "started": ("rw", "rw", "rw"),
    "finished": ("", "w", "w"),
    "failed": ("w", "w", "w"),
    "canceled": ("w", "w", "w"),
    "execution": ("rw", "rw", "rw"),
    "executions": ("w", "w", "w"),
    "worker": ("rw", "rw", "rw"),
    "worker_executions": ("w", "w", "rw"),
    "workers": ("", "", "w"),
    "queue_workers": ("", "", "w"),
}

_SENT_ALONE: Final = (
    "client|info", "client|setinfo", "client|setname", "evalsha", "exec", "hexists", "hgetall",
    "hlen", "mget", "multi", "ping", "script|load", "select", "waitaof", "xread", "zrevrange",
)  # fmt: skip
"""By this package, redis-py or RQ; what scripts call, too, is not named again."""

_CALLED: Final = re.compile(r"redis\.call\('(\w+)'")
_PATTERN: Final = {"rw": "~", "r": "%R~", "w": "%W~"}


def account(role: Role, pool: str) -> str:
    """One line of an ACL file: an account, its password yet to be set.

    Args:
        role: Which processes use it.
        pool: Their pool.
    """
    rules = (
        f"user preble-{pool}-{role} reset on {PASSWORD} resetchannels -@all", *_commands(pool),
        *_patterns(role, pool),
    )  # fmt: skip
    return " ".join(rules)


def _commands(pool: str) -> Iterator[str]:
    sources = load_scripts(PoolKeys(pool)).values()
    called = {name.lower() for source in sources for name in _CALLED.findall(source)}
    return (f"+{name}" for name in sorted(called.union(_SENT_ALONE)))


def _patterns(role: Role, pool: str) -> Iterator[str]:
    queues, jobs = f"{pool}.*", f"{job_prefix(pool)}*"
    named = {"pool": pool, "queue": queues, "worker": queues}
    for key in KEYS:
        of_job = jobs if key.template.startswith("rq:") else "*"
        name = defaultdict(lambda: "*", {"job": of_job, "composite": of_job, **named})
        if right := RIGHTS[key.name][ROLES.index(role)]:
            yield _PATTERN[right] + key.template.format_map(name)

"""What is asked of Redis to see a pool. Pure: `redis_facts` asks, `redis_census` reads replies.

Each question has a name, such as `("running", "gpu0")`, by which its reply is found again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Argument

OVERDUE_AFTER_MS: Final = 2_000
"""The leader takes back twice a second: what is overdue for longer, nobody takes back."""

SAMPLED_JOBS: Final = 512
"""Queued jobs that are looked at one by one: the first of each queue, shared evenly."""

SAMPLED_OF_QUEUE: Final = 16
RECOUNTED_JOBS: Final = 10_000
"""Jobs that have ended, up to which their bytes are added up."""

SAMPLED_LEASES: Final = 64

SNAPSHOT_HEAD_BYTES: Final = 512
"""All that an instance holds may be many megabytes; its first bytes say up to when."""

Question = tuple[str, str]
Questions = dict[Question, Sequence[Argument]]
Replies = Mapping[Question, Any]


class Names(NamedTuple):
    """Which queues there are, and when that was."""

    now_ms: int
    ingresses: Sequence[str]
    instances: Sequence[str]
    strangers: Sequence[str]
    """Instances that are not registered, though RQ lists a queue of theirs."""

    @property
    def share(self) -> int:
        """Jobs sampled of each queue."""
        queues = len(self.ingresses) + len(self.instances) + len(self.strangers)
        return min(SAMPLED_OF_QUEUE, max(1, SAMPLED_JOBS // max(1, queues)))


def questions_of_names(keys: PoolKeys) -> Questions:
    """Whose reply `names_from` reads."""
    return {
        ("now", ""): ("TIME",),
        ("ingresses", ""): ("SMEMBERS", keys("ingresses")),
        ("instances", ""): ("ZRANGE", keys("instances"), 0, -1),
        ("queues", ""): ("SMEMBERS", keys("queues")),
    }


def names_from(replies: Replies, keys: PoolKeys) -> Names:
    """The names of a pool's queues, each kind in order."""
    now_s, now_us = replies["now", ""]
    instances = sorted(texts(replies["instances", ""]))
    prefix = keys("queue", queue=keys.instance_queue(""))
    queues = texts(replies["queues", ""])
    listed = {name.removeprefix(prefix) for name in queues if name.startswith(prefix)}
    return Names(
        now_s * 1000 + now_us // 1000, sorted(texts(replies["ingresses", ""])), instances,
        sorted(listed.difference(instances)),
    )  # fmt: skip


def questions_of_census(keys: PoolKeys, names: Names) -> Questions:
    """All that is counted in one transaction, the names once more."""
    asked = questions_of_names(keys) | _questions_of_pool(keys, names.now_ms)
    for name in names.ingresses:
        asked |= _questions_of_queue(keys, name, names.share)
    for instance in (*names.instances, *names.strangers):
        asked |= _questions_of_queue(keys, keys.instance_queue(instance), names.share)
    for instance in names.instances:
        asked |= _questions_of_instance(keys, instance)
    return asked


def _questions_of_pool(keys: PoolKeys, now_ms: int) -> Questions:
    leases, late = keys("leases"), now_ms - OVERDUE_AFTER_MS
    return {
        ("schema", ""): ("GET", keys("schema")),
        ("record", ""): ("GET", keys("pool")),
        ("terms", ""): ("GET", keys("leader_epoch")),
        ("leader lease", ""): ("PTTL", keys("leader")),
        ("rollback", ""): ("HMGET", keys("rollback"), "from_ms", "to_ms"),
        ("instance leases", ""): ("ZRANGE", keys("instances"), 0, -1, "WITHSCORES"),
        ("drained", ""): ("ZRANGE", keys("drained"), 0, -1),
        ("counts", ""): ("HGETALL", keys("counts")),
        ("totals", ""): ("HGETALL", keys("totals")),
        ("leases", ""): ("ZCARD", leases),
        ("released", ""): ("ZCOUNT", leases, "-inf", 0),
        ("overdue", ""): ("ZCOUNT", leases, "(0", late),
        ("overdue leases", ""): (
            "ZRANGEBYSCORE", leases, "(0", late, "WITHSCORES", "LIMIT", 0, SAMPLED_LEASES,
        ),
        ("late", ""): ("ZCOUNT", keys("deadlines"), "-inf", late),
        ("ended", ""): ("ZRANGE", keys("ended"), 0, RECOUNTED_JOBS),
        ("oldest leases", ""): ("ZRANGE", leases, 0, SAMPLED_LEASES - 1),
    }  # fmt: skip


def _questions_of_queue(keys: PoolKeys, queue: str, share: int) -> Questions:
    key = keys("queue", queue=queue)
    return {("length", queue): ("LLEN", key), ("head", queue): ("LRANGE", key, 0, share - 1)}


def _questions_of_instance(keys: PoolKeys, instance: str) -> Questions:
    """What stands with one instance, but for the length of its queue."""
    queue, events = keys.instance_queue(instance), keys("events", instance=instance)
    snapshot = keys("snapshot", instance=instance)
    return {
        ("record", instance): ("HGET", keys("instance", instance=instance), "record"),
        ("running", instance): ("ZCARD", keys("started", queue=queue)),
        ("heartbeat", instance): ("HGET", keys("worker", worker=queue), "last_heartbeat"),
        ("batches", instance): ("XLEN", events),
        ("newest batch", instance): ("XREVRANGE", events, "+", "-", "COUNT", 1),
        ("snapshot", instance): ("GETRANGE", snapshot, 0, SNAPSHOT_HEAD_BYTES - 1),
    }


def questions_of_job(keys: PoolKeys, job: str) -> Questions:
    """In this order: what is missing of a job that has not ended afterwards was missing."""
    return {
        ("prompt", job): ("EXISTS", keys("prompt", job=job)),
        ("block keys", job): ("EXISTS", keys("block_keys", job=job)),
        ("job", job): (
            "HMGET", keys("job", job=job), "preble_state", "preble_instance",
            "preble_submitted_ms", "preble_started_ms",
        ),
    }  # fmt: skip


def texts(names: Iterable[bytes]) -> list[str]:
    """Names as Redis lists them."""
    return [name.decode() for name in names]

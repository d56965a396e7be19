"""A pool whose api, scheduler and worker each have an account of Redis with least rights.

RedisByRole ─┬─ api's calls ───────▶ RedisBroker as preble-POOL-api
            ├─ scheduler's calls ─▶ RedisBroker as preble-POOL-scheduler
            └─ worker's calls ────▶ RedisBroker as preble-POOL-worker
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, cast

from redis import Redis
from support import SMALL_BOUNDS, redis_broker

from preble.broker import Broker
from preble.broker.acl import PASSWORD, ROLES, Role, account
from preble.broker.bounds import Bounds
from preble.broker.keys import job_prefix
from preble.broker.redis import RedisBroker

SECRET: Final = "of-a-test"  # noqa: S105

_CALLS: Final[Mapping[Role, frozenset[str]]] = {
    "scheduler": frozenset({
        "lead", "resign", "peek", "route", "reap",
        "bulletin.load_pool", "bulletin.follow", "bulletin.load_snapshot",
    }),
    "worker": frozenset({
        "register", "claim", "listen", "renew", "finish", "release", "retire",
        "agreement.agree_on_weights", "bulletin.publish", "bulletin.save_snapshot",
        "streams.publish",
    }),
}  # fmt: skip
"""All others are an api's."""


def open_accounts(redis: Redis, pool: str, *, job_ids: str | None = None) -> dict[Role, str]:
    """Make the accounts of a pool.

    Args:
        redis: With all rights.
        pool: Its name.
        job_ids: How ids of jobs begin, if other than the pool says: tests call theirs `a`.

    Returns:
        User and password, as a URL has them, of each role.
    """
    for role in ROLES:
        line = account(role, pool).replace(PASSWORD, f"#{sha256(SECRET.encode()).hexdigest()}")
        if job_ids is not None:
            line = line.replace(job_prefix(pool), job_ids)
        _, name, *rules = line.split()
        redis.execute_command("ACL", "SETUSER", name, *rules)  # type: ignore[no-untyped-call]
    return {role: f"preble-{pool}-{role}:{SECRET}" for role in ROLES}


def as_user(redis_url: str, user: str) -> str:
    """The URL with a user in it."""
    return redis_url.replace("://", f"://{user}@")


def by_role(redis_url: str, pool: str, bounds: Bounds = SMALL_BOUNDS) -> Broker:
    """A broker whose every call goes by the account of the role that makes it."""
    return cast("Broker", RedisByRole(redis_url, pool, bounds))


class RedisByRole:
    """See `by_role`."""

    def __init__(self, redis_url: str, pool: str, bounds: Bounds) -> None:
        with Redis.from_url(redis_url) as redis:
            users = open_accounts(redis, pool, job_ids="")
        self.brokers: dict[Role, RedisBroker] = {
            role: redis_broker(as_user(redis_url, users[role]), pool, bounds) for role in ROLES
        }
        self.agreement = _PartByRole(self.brokers, "agreement")
        self.bulletin = _PartByRole(self.brokers, "bulletin")
        self.streams = _PartByRole(self.brokers, "streams")

    async def close(self) -> None:
        """Of all."""
        for broker in self.brokers.values():
            await broker.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # any of Broker's
        return getattr(self.brokers[_role_of(name)], name)


class _PartByRole:
    """An attribute of the broker whose calls are made by several roles."""

    def __init__(self, brokers: Mapping[Role, RedisBroker], part: str) -> None:
        self._brokers = brokers
        self._part = part

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # any of the attribute's
        broker = self._brokers[_role_of(f"{self._part}.{name}")]
        return getattr(getattr(broker, self._part), name)


def _role_of(call: str) -> Role:
    roles: list[Role] = [role for role, calls in _CALLS.items() if call in calls]
    return roles[0] if roles else "api"

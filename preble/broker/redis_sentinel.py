"""Clients of whichever server the Sentinels call the primary.

Each connection asks the Sentinels as it is made, so after a failover a client goes on with the
new primary by itself. redis-py has no types for this part.
"""

from collections.abc import Mapping
from typing import Any

import redis
import redis.asyncio as aioredis
import redis.asyncio.retry
import redis.retry
import redis.sentinel
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from preble.broker.redis_pool import TrustingPool
from preble.broker.redis_url import SentinelUrl


class _Pool(SentinelConnectionPool, TrustingPool):
    """Of connections to the primary."""

    async def aclose(self) -> None:
        await super().aclose()
        sentinels: Sentinel = self.sentinel_manager
        await sentinels.aclose()


def primary_pool(
    url: SentinelUrl, options: Mapping[str, Any], timeouts: Mapping[str, Any]
) -> aioredis.ConnectionPool:
    """Connections to the primary, made when they are needed.

    Args:
        url: The Sentinels, and which service.
        options: Of the connection pool and its connections.
        timeouts: And protocol, of connections to Sentinels.
    """
    once = redis.asyncio.retry.Retry(NoBackoff(), 0)  # there are other Sentinels to ask
    sentinels = Sentinel(  # type: ignore[no-untyped-call]  # redis-py's
        url.sentinels, sentinel_kwargs={**timeouts, **_to_sentinels(url), "retry": once}
    )
    return _Pool(  # type: ignore[no-untyped-call]  # redis-py's
        url.service, sentinels, ssl=url.is_tls, **options, **_to_servers(url)
    )


def blocking_primary(url: SentinelUrl, timeouts: Mapping[str, Any]) -> redis.Redis:
    """The same for threads."""
    once = redis.retry.Retry(NoBackoff(), 0)
    sentinels = redis.sentinel.Sentinel(  # type: ignore[no-untyped-call]  # redis-py's
        url.sentinels, sentinel_kwargs={**timeouts, **_to_sentinels(url), "retry": once}
    )
    pool = redis.sentinel.SentinelConnectionPool(  # type: ignore[no-untyped-call]  # redis-py's
        url.service, sentinels, ssl=url.is_tls, **timeouts, **_to_servers(url)
    )
    return redis.Redis.from_pool(pool)


def _to_servers(url: SentinelUrl) -> dict[str, Any]:
    return {"db": url.db, "username": url.username, "password": url.password}


def _to_sentinels(url: SentinelUrl) -> dict[str, Any]:
    return {"ssl": url.is_tls, "password": url.sentinel_password}

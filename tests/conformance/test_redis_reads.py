"""While Redis takes no writes, as without its replicas or on a full disk, looks are answered."""

from collections.abc import AsyncIterator, Iterator

import pytest
from queue_support import Hands
from redis import Redis
from support import redis_broker, submission

from preble.broker.redis import RedisBroker
from preble.errors import BrokerUnavailable
from preble.messages import JobId, JobState

pytestmark = pytest.mark.anyio


@pytest.fixture
async def broker(redis: Redis, redis_url: str) -> AsyncIterator[RedisBroker]:
    del redis  # emptied first
    made = redis_broker(redis_url)
    hands = Hands(made)
    await hands.admit("a", "b")
    await hands.run()
    yield made
    await made.close()


@pytest.fixture
def writes_are_refused(broker: RedisBroker, redis: Redis) -> Iterator[None]:
    del broker  # filled first
    redis.config_set("min-replicas-to-write", 1)
    yield
    redis.config_set("min-replicas-to-write", 0)


@pytest.mark.usefixtures("writes_are_refused")
async def test_looks_are_answered(broker: RedisBroker) -> None:
    (refusal,) = await broker.admit([[submission("c")]])
    assert isinstance(refusal, BrokerUnavailable)
    (instance,) = await broker.roster.views()
    assert instance.running == 2
    assert (await broker.counts.stats()).running == 2
    job = await broker.view(JobId("a"))
    assert job is not None
    assert job.state is JobState.RUNNING

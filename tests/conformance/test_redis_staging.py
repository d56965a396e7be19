"""Large prompts, which are sent ahead of the call that admits their jobs."""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from msgspec.structs import replace
from queue_support import Hands
from redis import Redis
from support import redis_broker, submission

from preble.broker.bounds import Bounds
from preble.broker.redis import RedisBroker
from preble.broker.redis_scripts import ScriptRunner
from preble.errors import KeyReused, QueueFull
from preble.messages import Submission, pack_tokens

pytestmark = pytest.mark.anyio


@pytest.fixture
async def broker(redis: Redis, redis_url: str) -> AsyncIterator[RedisBroker]:
    assert redis.dbsize() == 0
    made = redis_broker(redis_url, bounds=Bounds(10, 1 << 30, 5))
    yield made
    await made.close()


def large(token: int, *, tokens: int = 300_000) -> Submission:
    """The job of one key; its fingerprint and its prompt are the token's."""
    job = submission("keyed", prompt_tokens=10, fingerprint=str(token))
    return replace(job, prompt=pack_tokens([token] * tokens))


def keys(redis: Redis, kind: str) -> list[bytes]:
    return cast("list[bytes]", redis.keys(f"*:{kind}:*"))


async def died_before_admit(broker: RedisBroker, job: Submission) -> None:
    """Send what an api sends that is gone before it asks for the admission."""

    async def gone(*_: object, **__: object) -> list[Any]:
        raise ConnectionResetError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptRunner, "run_each", gone)
        with pytest.raises(ConnectionResetError):
            await broker.admit([[job]])


async def claimed_prompts(broker: RedisBroker) -> list[bytes]:
    return [bytes(job.prompt) for job in await Hands(broker).run()]


async def test_a_request_runs_with_its_own_prompt_though_another_died_under_its_key(
    broker: RedisBroker,
) -> None:
    await died_before_admit(broker, large(7))
    assert await broker.admit([[large(9)]]) == [None]
    assert await claimed_prompts(broker) == [large(9).prompt]


async def test_two_requests_under_one_key_at_once_leave_one_job_with_its_prompt(
    broker: RedisBroker, redis: Redis
) -> None:
    first, second = await broker.admit([[large(7)], [large(9)]])
    assert first is None
    assert isinstance(second, KeyReused)
    assert keys(redis, "staged") == []
    assert await claimed_prompts(broker) == [large(7).prompt]


async def test_a_list_comes_whole_in_several_calls_and_stays(
    broker: RedisBroker, redis: Redis
) -> None:
    list_ = [replace(large(n, tokens=100_000), job_id=submission(f"j{n}").job_id) for n in range(8)]
    assert await broker.admit([list_]) == [None]
    assert keys(redis, "staged") == []
    assert {redis.ttl(key) for key in keys(redis, "prompt")} == {-1}
    assert sorted(await claimed_prompts(broker)) == sorted(job.prompt for job in list_)


async def test_what_is_refused_leaves_nothing(broker: RedisBroker, redis: Redis) -> None:
    many = [replace(large(n), job_id=submission(f"j{n}").job_id) for n in range(11)]
    [refusal] = await broker.admit([many])
    assert isinstance(refusal, QueueFull)
    assert keys(redis, "staged") == keys(redis, "prompt") == []


async def test_a_prompt_whose_request_died_goes_by_itself(
    broker: RedisBroker, redis: Redis
) -> None:
    await died_before_admit(broker, large(7))
    [staged] = keys(redis, "staged")
    assert 0 < redis.ttl(staged) <= 60

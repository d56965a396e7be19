"""What is read from Redis at the end, and which keys should not be there."""

import msgspec
import pytest
from chaos.final_state import read_final
from chaos.records import FinalJob
from redis import Redis

from preble.messages import JobFailure, JobState


@pytest.fixture
def client(redis: Redis, redis_url: str) -> Redis:
    """The same Redis, emptied, in text."""
    del redis
    return Redis.from_url(redis_url, decode_responses=True)


def end(client: Redis, job_id: str, state: JobState, **fields: str) -> None:
    for name, value in {"preble_state": state, "preble_attempt": "1", **fields}.items():
        client.hset(f"rq:job:{job_id}", name, value)
    client.expire(f"rq:job:{job_id}", 100)


def test_a_job_with_its_results(client: Redis) -> None:
    end(client, "j1", JobState.COMPLETED, preble_started_ms="5", preble_ended_ms="9")
    client.xadd("rq:results:j1", {"type": "1"})
    client.xadd("rq:results:j1", {"type": "2"})
    client.hset("preble:default:totals", "completed", 1)
    client.hset("preble:default:counts", "jobs", 3)
    final = read_final(client)
    assert final.jobs == {
        "j1": FinalJob("j1", JobState.COMPLETED, 1, 5, 9, None, "", 2, 1, has_expiry=True)
    }
    assert (final.totals, final.held) == ({"completed": 1}, {"jobs": 3, "prompt bytes": 0})
    assert final.residue == []


@pytest.mark.parametrize(
    "key",
    [
        "preble:default:prompt:j1", "preble:default:leases", "rq:queue:default.instance.gpu0",
        "rq:worker:default.instance.gpu0:executions", "preble:default:nobody_knows", "other",
    ],
)  # fmt: skip
def test_what_belongs_to_no_ended_job_is_residue(client: Redis, key: str) -> None:
    client.set(key, "x")
    client.set("preble:default:leader", "x")
    client.set("rq:worker:default.instance.gpu0", "x")
    assert read_final(client).residue == [key]


def test_prompts_of_failed_jobs_are_kept_to_be_retried(client: Redis) -> None:
    failure = msgspec.json.encode(JobFailure("attempts_used_up", "five deaths")).decode()
    end(client, "j1", JobState.FAILED, preble_failure=failure)
    client.set("preble:default:prompt:j1", "x")
    client.set("preble:default:blocks:j1", "x")
    final = read_final(client)
    assert final.residue == []
    assert final.jobs["j1"].failure == "attempts_used_up"

"""Webhooks over the death of the api that delivers them: kill -9, real processes."""

import json
from pathlib import Path
from typing import cast

import httpx2
import pytest
from processes import stack
from redis import Redis
from support import eventually
from webhook_support import SECRET, receiver

pytestmark = pytest.mark.process


def due_now(redis_port: int, job_id: str) -> None:
    """The time of its next attempt, or of its lease's end, has come."""
    with Redis(port=redis_port) as client:
        client.zadd("preble:default:webhooks", {job_id: 1}, xx=True)


@pytest.mark.parametrize("during", ["an attempt", "the pause after one"])
def test_an_api_killed_over_a_webhook_loses_none(tmp_path: Path, during: str) -> None:
    with receiver() as hook:
        if during == "an attempt":
            hook.hold.clear()
        else:
            hook.answers = [500]
        with stack(
            tmp_path, instances=1, webhook_secret=SECRET, webhook_allow=hook.place
        ) as running:
            [job_id] = running.submit([{"prompt": "hello", "webhook": {"url": hook.url}}])
            eventually(lambda: len(hook.got) == 1)
            if during != "an attempt":
                eventually(lambda: webhook(running.job(job_id))["last_error"] == "answered 500")
            running.kill("api")
            hook.hold.set()
            due_now(running.redis_port, job_id)
            running.start("api")
            eventually(lambda: is_up(running.url))
            eventually(lambda: webhook(running.job(job_id))["status"] == "delivered")
            assert webhook(running.job(job_id))["attempts"] == 2
        assert len(hook.got) == 2
        first, second = (got.headers["webhook-id"] for got in hook.got)
        assert first == second
        assert json.loads(hook.got[1].body)["type"] == "job.completed"


def webhook(job: dict[str, object]) -> dict[str, object]:
    found = job["webhook"]
    assert isinstance(found, dict)
    return cast("dict[str, object]", found)


def is_up(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz").status_code == 200
    except httpx2.TransportError:
        return False

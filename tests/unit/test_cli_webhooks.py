"""`preble webhooks`: what was given up is listed, and sent again."""

import asyncio
import json

import pytest
from msgspec.structs import replace
from support import redis_broker, submission, unique

from preble.broker.webhooks import Room, Verdict
from preble.cli import run
from preble.messages import JobId, Webhook

HOOK = Webhook("https://receiver.example:8443/hook?token=secret")


async def give_up(redis_url: str, pool: str, *names: str) -> None:
    """New jobs whose webhooks were given up."""
    broker = redis_broker(redis_url, pool)
    await broker.admit([[replace(submission(name), webhook=HOOK) for name in names]])
    await broker.cancel([JobId(name) for name in names])
    for due in await broker.webhooks.take(Room(10, 10), lease_s=60):
        await broker.webhooks.settle(due, Verdict("failed", "answered 500"))
    await broker.close()


async def due(redis_url: str, pool: str) -> list[str]:
    broker = redis_broker(redis_url, pool)
    found = await broker.webhooks.take(Room(10, 10), lease_s=60)
    await broker.close()
    return [each.job_id for each in found]


@pytest.fixture
def where(redis_url: str) -> list[str]:
    """Flags that name a pool of its own, with two dead letters."""
    pool = unique("webhooks")
    asyncio.run(give_up(redis_url, pool, f"{pool}_a", f"{pool}_b"))
    return ["--redis-url", redis_url, "--pool", pool]


def test_what_was_given_up_is_listed_without_its_secrets(
    where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["webhooks", "ls", *where]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("JOB")
    assert len(rows) == 2
    assert all("https://receiver.example:8443  " in row for row in rows)
    assert all(row.endswith("answered 500") and "secret" not in row for row in rows)
    assert run(["webhooks", "ls", "--limit", "1", "-o", "json", *where]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["attempts"] == 1


def test_one_is_sent_again(
    where: list[str], redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = where[-1]
    assert run(["webhooks", "retry", f"{pool}_a", *where]) == 0
    assert capsys.readouterr().out == f"{pool}_a pending\n"
    assert asyncio.run(due(redis_url, pool)) == [f"{pool}_a"]
    assert run(["webhooks", "retry", f"{pool}_a", *where]) == 1
    assert "was not given up" in capsys.readouterr().out


def test_all_are_sent_again(where: list[str], redis_url: str) -> None:
    pool = where[-1]
    assert run(["webhooks", "retry", "--all", *where]) == 0
    assert sorted(asyncio.run(due(redis_url, pool))) == [f"{pool}_a", f"{pool}_b"]
    assert run(["webhooks", "retry", "--all", *where]) == 0


@pytest.mark.parametrize("arguments", [[], ["--all", "job"]])
def test_jobs_and_all_exclude_each_other(
    where: list[str], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["webhooks", "retry", *arguments, *where]) == 2
    assert "--all" in capsys.readouterr().err

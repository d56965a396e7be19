"""The scheduler that leads dies or stands still, and the other one takes over."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import Stack, stack
from redis import Redis
from support import eventually

pytestmark = pytest.mark.process

SCHEDULERS = ("scheduler", "scheduler2")
TAKES_OVER_S = 5.0
LEADER = "preble:default:leader"


def jobs(number: int) -> list[dict[str, object]]:
    return [
        {"input_ids": [index, *range(63)], "sampling_params": {"max_new_tokens": 32}}
        for index in range(number)
    ]


@contextmanager
def busy(folder: Path) -> Generator[tuple[Stack, list[str]]]:
    """A pool with two schedulers in the middle of its jobs, which are bound late."""
    with stack(folder, emulated_speed="4", slots="4", wait_jobs="1") as running:
        running.start("scheduler2")
        eventually(lambda: "scheduler2" in running.processes and token(running) != "")
        ids = running.submit(jobs(200))
        eventually(lambda: running.completed() > 10)
        yield running, ids


def token(running: Stack) -> str:
    """Of the leader; empty if nobody leads."""
    with Redis(port=running.redis_port, decode_responses=True) as client:
        return str(client.get(LEADER) or "")


def leader(running: Stack) -> str:
    """Which scheduler leads, by its log."""
    now = token(running)
    (name,) = (name for name in SCHEDULERS if f"token={now} " in running.log(name))
    return name


def check_each_ran_once(running: Stack, ids: list[str]) -> None:
    """None was placed twice: each was claimed once, and has one result."""
    with Redis(port=running.redis_port) as client, client.pipeline(transaction=False) as pipeline:
        for job_id in ids:
            pipeline.hmget(f"rq:job:{job_id}", "preble_state", "preble_attempt")
            pipeline.xlen(f"rq:results:{job_id}")
        replies = pipeline.execute()
    assert {tuple(each) for each in replies[::2]} == {(b"completed", b"1")}
    assert set(replies[1::2]) == {1}


def test_when_the_leader_is_killed_the_standby_leads_within_five_seconds(tmp_path: Path) -> None:
    with busy(tmp_path) as (running, ids):
        old = token(running)
        running.kill(leader(running))
        eventually(lambda: token(running) not in {"", old}, within_s=TAKES_OVER_S)
        eventually(lambda: running.completed() == len(ids), within_s=60)
        check_each_ran_once(running, ids)


def test_a_leader_that_stood_still_is_refused_and_stands_by(tmp_path: Path) -> None:
    with busy(tmp_path) as (running, ids):
        old, stopped = token(running), leader(running)
        running.signal(stopped, signal.SIGSTOP)
        eventually(lambda: token(running) not in {"", old}, within_s=TAKES_OVER_S)
        led_by = token(running)
        running.signal(stopped, signal.SIGCONT)
        eventually(lambda: "standing by" in running.log(stopped))
        eventually(lambda: running.completed() == len(ids), within_s=60)
        assert token(running) == led_by
        check_each_ran_once(running, ids)

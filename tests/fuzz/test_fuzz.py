"""A short run of the fuzzer, and proof that what it looks for would be found."""

import json
from pathlib import Path

import pytest
from fuzz.remains import Footprint, unexplained
from fuzz.replies import faults
from fuzz.report import Report
from fuzz.run import judge_api, run
from fuzz.shots import drawn
from fuzz.wire import LONGEST_S, Exchange, Reply, Shot
from redis import Redis

OWED = Shot("good", (b"",))
GOOD = {"content-type": "application/json", "x-request-id": "req_1"}
BAD = {"content-type": "application/problem+json", "x-request-id": "req_1"}


@pytest.mark.process
def test_malformed_requests_are_refused_and_leave_nothing_behind(tmp_path: Path) -> None:
    report = run(tmp_path, requests=400, seed=1)
    assert not report.faults, str(report)
    assert report.requests == 400
    assert report.accepted


def problem(status: int, code: str = "c", instance: str = "urn:preble:request:req_1") -> bytes:
    error = {"message": "m", "type": "t", "param": None, "code": code}
    told = {"type": "t", "title": "t", "status": status, "detail": "d", "instance": instance}
    return json.dumps({**told, "error": error}).encode()


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (Reply(200, GOOD, b"{}"), ""),
        (Reply(400, BAD, problem(400)), ""),
        (Reply(503, {**BAD, "retry-after": "2"}, problem(503, "queue_unavailable")), ""),
        (Reply(500, BAD, problem(500, "internal_error")), "500: "),
        (Reply(503, {**BAD, "retry-after": "2"}, problem(503, "other")), "503: "),
        (Reply(503, BAD, problem(503, "queue_unavailable")), "503 without Retry-After"),
        (Reply(400, {**BAD, "content-type": "text/plain"}, b"no"), "400 as text/plain"),
        (Reply(400, BAD, b"{}"), "400 is no problem"),
        (Reply(400, BAD, problem(404)), "400 contradicts itself"),
        (Reply(400, BAD, problem(400, instance="urn:other")), "400 contradicts itself"),
        (Reply(200, {**GOOD, "content-type": "image/png"}, b"{}"), "200 as image/png"),
        (Reply(200, GOOD, b"{"), "200 is no JSON"),
        (Reply(200, {"content-type": "application/json"}, b"{}"), "200 without a request id"),
    ],
)
def test_a_wrong_reply_is_found(reply: Reply, found: str) -> None:
    told = list(faults(Exchange(OWED, 0.1, reply)))
    assert len(told) == bool(found)
    assert all(each.startswith(found) for each in told)


def test_silence_is_found_where_a_reply_is_owed() -> None:
    assert list(faults(Exchange(OWED, 0.1, reason="reset"))) == ["no reply: reset"]
    assert not list(faults(Exchange(Shot("cut", (b"",), is_owed=False), 0.1)))


def test_a_slow_reply_is_found() -> None:
    assert list(faults(Exchange(OWED, LONGEST_S + 1, Reply(200, GOOD, b"{}"))))


def test_what_a_job_leaves_behind_is_found(redis: Redis, redis_url: str) -> None:
    explained = ["rq:job:a", "rq:results:a", "preble:default:counts", "rq:finished:default.x"]
    left = ["other", "preble:default:prompt:a", "rq:executions:a", "rq:job:b", "rq:queue:default.x"]
    redis.mset(dict.fromkeys(explained + left, 1))
    with Redis.from_url(redis_url, decode_responses=True) as client:
        assert unexplained(client, {"a"}) == left


@pytest.mark.parametrize(
    ("end", "found"),
    [
        (Footprint(130_000_000, 22), []),
        (Footprint(140_000_000, 20), ["the api's memory grew"]),
        (Footprint(100_000_000, 30), ["the api keeps files open"]),
    ],
)
def test_a_leak_is_found(end: Footprint, found: list[str]) -> None:
    report = Report()
    judge_api(report, Footprint(100_000_000, 20), end)
    assert report.faults == found


def test_a_request_is_the_same_whenever_it_is_drawn() -> None:
    assert [drawn(1, at) for at in range(50)] == [drawn(1, at) for at in range(50)]
    assert drawn(1, 0) != drawn(2, 0)

"""`preble doctor`: what it prints, and how it ends."""

import json
import os
from typing import Final

import msgspec
import pytest
from doctor_support import SERVER, WELL
from msgspec.structs import replace

from preble.broker.facts import Facts
from preble.cli import doctor, run
from preble.clock import Clock
from preble.errors import BrokerUnavailable

URL: Final = "redis://user:s3cret@redis.example/0?password=s3cret"

WARNED: Final = Facts(replace(SERVER, is_append_only=False), WELL)
BROKEN: Final = Facts(replace(SERVER, is_append_only=False), replace(WELL, leader_lease_s=None))


@pytest.fixture(autouse=True)
def _no_preble_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PREBLE_")]:
        monkeypatch.delenv(name)


def use_facts(monkeypatch: pytest.MonkeyPatch, facts: Facts | Exception) -> list[tuple[str, str]]:
    """Let the doctor see these facts. Returns the Redis and pool that it asks for."""
    asked: list[tuple[str, str]] = []

    async def collect(redis_url: str, pool: str, clock: Clock) -> Facts:
        del clock
        asked.append((redis_url, pool))
        if isinstance(facts, Exception):
            raise facts
        return facts

    monkeypatch.setattr(doctor, "collect_facts", collect)
    return asked


@pytest.mark.parametrize(
    ("facts", "status", "last"),
    [
        (Facts(SERVER, WELL), 0, "0 broken, 0 warnings, 8 notes"),
        (WARNED, 1, "0 broken, 1 warning, 7 notes"),
        (BROKEN, 2, "1 broken, 1 warning, 6 notes"),
    ],
)
def test_the_status_tells_the_worst(
    facts: Facts,
    status: int,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_facts(monkeypatch, facts)

    assert run(["doctor"]) == status
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_each_finding_has_its_why_and_its_remedy_the_worst_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_facts(monkeypatch, BROKEN)

    run(["doctor"])

    said = capsys.readouterr().out.splitlines()
    assert said[:7] == [
        "pool default at redis://127.0.0.1:6379/0",
        "broken    pool    no scheduler leads; 5 jobs waiting, 1 term so far",
        "               why  Nothing is placed, and nothing is taken back from the dead.",
        "            remedy  preble scheduler; two of them, and one takes over when the other dies",
        "warning   redis   appendonly is off",
        "               why  Accepted jobs are lost when the server stops or dies.",
        "            remedy  redis-cli CONFIG SET appendonly yes; then `redis-cli CONFIG REWRITE`",
    ]


def test_programs_get_one_line_of_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_facts(monkeypatch, WARNED)

    assert run(["doctor", "--json"]) == 1

    said = capsys.readouterr().out
    assert said.count("\n") == 1
    report = json.loads(said)
    assert (report["pool"], report["worst"]) == ("default", "warning")
    assert report["findings"][0] == {
        "level": "warning",
        "subject": "redis",
        "seen": "appendonly is off",
        "why": "Accepted jobs are lost when the server stops or dies.",
        "remedy": "redis-cli CONFIG SET appendonly yes; then `redis-cli CONFIG REWRITE`",
    }


def test_it_looks_where_it_is_told_and_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = use_facts(monkeypatch, Facts(SERVER, WELL))
    monkeypatch.setenv("PREBLE_REDIS_URL", URL)
    monkeypatch.setenv("PREBLE_POOL", "blue")

    run(["doctor"])
    run(["doctor", "--json", "--pool", "green"])

    assert asked == [(URL, "blue"), (URL, "green")]
    said = capsys.readouterr().out
    assert "pool blue at redis://user:***@redis.example/0\n" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_redis_that_refuses_is_a_finding(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_facts(monkeypatch, BrokerUnavailable("Redis is not available:\nit sleeps"))

    assert run(["doctor", *flags]) == 2

    captured = capsys.readouterr()
    assert "Redis is not available: it sleeps" in captured.out
    assert captured.err == ""


def test_a_redis_that_is_not_there_is_one_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json", "--redis-url", "redis://:s3cret@127.0.0.1:1/0"]) == 2

    captured = capsys.readouterr()
    report = msgspec.json.decode(captured.out, type=doctor.Report)
    (finding,) = report.findings
    assert (report.worst, finding.level) == ("broken", "broken")
    assert "127.0.0.1:1" in finding.seen
    assert "s3cret" not in captured.out + captured.err


def test_a_wrong_url_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--redis-url", "http://nowhere"]) == 2
    assert capsys.readouterr().err.startswith("preble: setting redis_url: ")

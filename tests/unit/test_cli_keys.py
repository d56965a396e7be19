"""`preble keys` on a real Valkey."""

import json

import pytest
from redis import Redis
from support import unique

from preble.broker.api_keys import KEY, digest_of
from preble.broker.keys import PoolKeys
from preble.cli import run

Captured = pytest.CaptureFixture[str]


class Cli:
    """Runs `preble keys` on one pool."""

    def __init__(self, redis_url: str, capsys: Captured) -> None:
        self.pool = unique("keys")
        self._where = ["--redis-url", redis_url, "--pool", self.pool]
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, stdout and stderr."""
        status = run(["keys", *arguments, *self._where])
        out, err = self._capsys.readouterr()
        return status, out.strip(), err

    def records(self) -> list[dict[str, object]]:
        _, out, _ = self("ls", "-o", "json")
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def cli(redis_url: str, capsys: Captured) -> Cli:
    return Cli(redis_url, capsys)


def test_key_is_printed_alone_and_only_its_hash_is_kept(cli: Cli, redis_url: str) -> None:
    status, key, err = cli("create", "--name", "ci", "--tenant", "acme", "--expires-days", "1")
    assert status == 0
    assert KEY.fullmatch(key.encode())
    assert key not in err
    with Redis.from_url(redis_url) as client:
        kept = client.hgetall(PoolKeys(cli.pool)("api_keys"))
    assert list(kept) == [digest_of(key.encode()).encode()]
    assert key not in repr(kept)
    [record] = cli.records()
    assert (record["name"], record["tenant"]) == ("ci", "acme")
    assert sorted(record["scopes"]) == ["read", "submit"]  # type: ignore[call-overload]  # JSON
    assert record["expires_at"] == pytest.approx(record["created_at"] + 86_400)  # type: ignore[operator]  # JSON
    _, table, _ = cli("ls")
    assert "ci" in table
    assert key not in table


@pytest.mark.parametrize(
    ("flags", "tenant"),
    [
        ([], "default"), (["--tenant", "acme"], "acme"), (["--all-tenants"], None),
        (["--scope", "admin"], None), (["--scope", "admin", "--all-tenants"], None),
    ],
)  # fmt: skip
def test_whom_a_key_acts_for(cli: Cli, flags: list[str], tenant: str | None) -> None:
    assert cli("create", "--name", "n", *flags)[0] == 0
    [record] = cli.records()
    assert record["tenant"] == tenant


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--tenant", "a", "--scope", "admin"], "exclude"),
        (["--tenant", "a", "--all-tenants"], "exclude"),
        (["--tenant", "a b"], "--tenant"), (["--tenant", "a\n"], "--tenant"),
        (["--tenant", "*"], "--tenant"), (["--scope", "write"], "--scope"),
        (["--scope", ","], "--scope"), (["--expires-days", "0"], "--expires-days"),
        (["--expires-days", "-1"], "--expires-days"), (["--expires-days", "nan"], "--expires-days"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line_and_makes_no_key(cli: Cli, flags: list[str], said: str) -> None:
    status, out, err = cli("create", "--name", "n", *flags)
    assert (status, out) == (2, "")
    assert said in err
    assert cli.records() == []


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 65])
def test_names_are_fit_for_a_table(cli: Cli, name: str) -> None:
    status, _, err = cli("create", "--name", name)
    assert (status, "--name" in err) == (2, True)


def test_revoked_key_is_shown_as_such(cli: Cli) -> None:
    cli("create", "--name", "n")
    [record] = cli.records()
    key_id = str(record["id"])
    assert cli("revoke", key_id)[:2] == (0, f"{key_id} revoked")
    assert cli("revoke", key_id)[0] == 0
    assert "revoked" in cli("ls")[1]
    status, out, err = cli("revoke", "key_none")
    assert (status, out) == (2, "")
    assert "preble keys ls" in err


def test_redis_that_is_away_is_one_line(capsys: Captured) -> None:
    assert run(["keys", "ls", "--redis-url", "redis://127.0.0.1:1/0"]) == 1
    assert capsys.readouterr().err.startswith("preble: Redis is not available")

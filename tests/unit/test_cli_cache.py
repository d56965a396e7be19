"""`preble cache tree` on a real Redis: snapshots, events after them, and jobs on their way."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace
from support import POOL, assignment, record, redis_broker, submission, unique

from preble.broker import Broker
from preble.cli import run
from preble.messages import BlocksStored, EventBatch, InstanceId, Snapshot, pack_keys

GPU0, GPU1 = InstanceId("gpu0"), InstanceId("gpu1")
SHARED, MINE, YOURS = (1, 2, 3, 4), (5, 6), (7,)


@pytest.fixture(autouse=True)
def _no_preble_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PREBLE_")]:
        monkeypatch.delenv(name)


def fill(redis_url: str, pool: str, act: Callable[[Broker], Awaitable[None]]) -> None:
    async def filled() -> None:
        broker = redis_broker(redis_url, pool)
        await act(broker)
        await broker.close()

    asyncio.run(filled())


async def two_that_share(broker: Broker) -> None:
    """Both hold 4 blocks; gpu0 has 2 more behind them and gpu1 1 of its own, told by an event."""
    await broker.agreement.join_pool(POOL)
    for name in (GPU0, GPU1):
        await broker.register(record(name), lease_s=60)
        await broker.bulletin.save_snapshot(
            Snapshot(name, "e1", 1, (BlocksStored(pack_keys(SHARED)),))
        )
    mine = BlocksStored(pack_keys(MINE), parent_key=SHARED[-1])
    await broker.bulletin.publish([EventBatch(GPU0, "e1", 2, (mine,))])
    await broker.bulletin.publish([EventBatch(GPU1, "e1", 2, (BlocksStored(pack_keys(YOURS)),))])


@pytest.fixture
def pool(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    name = unique("cache")
    fill(redis_url, name, two_that_share)
    monkeypatch.setenv("PREBLE_REDIS_URL", redis_url)
    monkeypatch.setenv("PREBLE_POOL", name)
    return name


def test_it_shows_what_is_held_where_and_how_much_that_is(
    pool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cache", "tree"]) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        f"pool {pool}: 448 tokens cached, in blocks of 64",
        "  gpu0: 384 tokens, 4% of its KV cache",
        "  gpu1: 320 tokens, 3% of its KV cache",
        " SHARE    TOKENS  HELD BY",
        " 85.7%       256  gpu0 gpu1  [00000000]",
        " 28.6%       128    gpu0  [00000000]",
        " 14.3%        64  gpu1  [00000000]",
    ]


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize(
    ("flags", "tokens"),
    [
        (["--limit", "1"], [256]),
        (["--depth", "1"], [256, 64]),
        (["--min-tokens", "65"], [256, 128]),
        (["--instance", "gpu1"], [256, 64]),
        (["--instance", "gpu0", "--depth", "1"], [256]),
    ],
)
def test_it_is_as_long_as_asked(
    flags: list[str], tokens: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cache", "tree", "--json", *flags]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert [node["blocks"] * seen["block_size"] for node in seen["drawing"]["nodes"]] == tokens


def test_a_prefix_of_jobs_on_their_way_is_hotter(
    redis_url: str, pool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def place(broker: Broker) -> None:
        job = submission("job", prompt_tokens=100, keys=YOURS)
        await broker.admit([[job]])
        token = await broker.lead("one", ttl_s=60)
        assert token
        [waiting] = await broker.peek(10)
        moved = [(waiting.ingress, assignment(waiting, GPU1))]
        assert await broker.route(token, moved) == [True]

    fill(redis_url, pool, place)
    assert run(["cache", "tree", "--limit", "1"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-2] == " 14.3%        64  gpu1  jobs 1  [00000000]"
    assert "1 more" not in told[-2]
    assert told[-1].endswith("… 2 more")


@pytest.mark.usefixtures("pool")
def test_an_instance_that_takes_no_jobs_is_told_with_those_that_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["cache", "tree", "--instance", "gpu9"]) == 2
    assert "no instance called 'gpu9' takes jobs; there are: gpu0, gpu1" in capsys.readouterr().err


def test_events_that_were_lost_are_left_out(
    redis_url: str, pool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What follows them is shown: so goes a scheduler on, too."""

    async def skip(broker: Broker) -> None:
        late = BlocksStored(pack_keys((11, 12, 13)))
        await broker.bulletin.publish([EventBatch(GPU0, "e1", 9, (late,))])

    fill(redis_url, pool, skip)
    assert run(["cache", "tree", "--instance", "gpu0", "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert [node["blocks"] for node in seen["drawing"]["nodes"]] == [3]


def test_an_empty_pool_has_no_lines(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    pool = unique("cache")
    fill(redis_url, pool, lambda broker: broker.agreement.join_pool(replace(POOL, block_size=32)))
    assert run(["cache", "tree", "--redis-url", redis_url, "--pool", pool]) == 0
    assert capsys.readouterr().out == f"pool {pool}: 0 tokens cached, in blocks of 32\n"


def test_a_pool_that_was_never_founded_is_told(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cache", "tree", "--redis-url", redis_url, "--pool", unique("nobody")]) == 2
    assert "was never founded: check PREBLE_POOL" in capsys.readouterr().err

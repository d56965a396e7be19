"""Supervision of an SGLang server, with a stand-in that is a real process in SGLang's place."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from engines import complete
from support import eventually

from preble.clock import SystemClock
from preble.config import Settings
from preble.errors import ConfigError, EngineUnavailable
from preble.messages import JobId, SamplingParams, pack_tokens
from preble_workers.engine import AllPagesCleared, EngineInfo, EngineRequest, PageEvent, PagesStored
from preble_workers.sglang_engine import SGLangEngine

pytestmark = pytest.mark.anyio

TESTS = Path(__file__).parents[1]
ASSUMED = EngineInfo(slots=4, kv_capacity_tokens=640, page_size=16, context_length=512)

STAND_IN = """
import asyncio, os, subprocess, sys
from pathlib import Path

from kv_events_stub import CLEARED, KvEventsStub, stored
from sglang_stub import SGLangStub

OPTIONS = dict(zip(sys.argv, [*sys.argv[1:], ""]))
FOLDER = Path(os.environ["STAND_IN"])


async def serve():
    events = OPTIONS["--kv-events-config"]
    info = {
        "kv_events_config": events, "random_seed": os.getpid(), "max_total_num_tokens": 640,
    }
    folder = Path(events.partition("ipc://")[2].partition('"')[0]).parent
    async with KvEventsStub(folder) as kv_events, SGLangStub(server_info=info) as stub:
        if "--holds-answers" in OPTIONS:
            stub.go_on.clear()
        stub.pages["/flush_cache"] = {}
        server = await asyncio.start_server(stub._accept, "127.0.0.1", int(OPTIONS["--port"]))
        with (FOLDER / "pids").open("a") as pids:
            print(os.getpid(), file=pids, flush=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(tell_stored(stub, kv_events))
            tasks.create_task(tell_cleared(stub, kv_events))
            tasks.create_task(server.serve_forever())


async def tell_stored(stub, kv_events):
    while True:
        body = await stub.requests["/generate"].get()
        (FOLDER / "asked").touch()
        await kv_events.publish(stored(0, len(body["input_ids"]) // 16))


async def tell_cleared(stub, kv_events):
    while True:
        await stub.requests["/flush_cache"].get()
        await kv_events.publish(CLEARED)


(FOLDER / "arguments").write_text("\\n".join(sys.argv[1:]))
print("loading the model", flush=True)
if "--ends-at-once" in OPTIONS:
    sys.exit("out of memory: the model is too large")
if "--is-strange" in OPTIONS:
    print("usage: launch_server.py [-h]", file=sys.stderr)
    print("launch_server.py: error: unrecognized arguments: --is-strange", file=sys.stderr)
    sys.exit(2)
if "--loads-for-ever" in OPTIONS:
    with (FOLDER / "pids").open("a") as pids:
        print(os.getpid(), file=pids, flush=True)
    import time
    time.sleep(600)
if "--has-a-stubborn-child" in OPTIONS:
    subprocess.Popen(
        ["sh", "-c", "trap '' TERM; sleep 600"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
asyncio.run(serve())
"""


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a `sglang` package in it, for the stand-in's notes, and for its sockets.

    Their paths must be short, and pytest's own folders lie deep.
    """
    with tempfile.TemporaryDirectory(prefix="stand-in-", ignore_cleanup_errors=True) as folder:
        _furnish(Path(folder), monkeypatch)
        yield Path(folder)


def _furnish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = folder / "sglang"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "launch_server.py").write_text(STAND_IN)
    (folder / "pids").touch()
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{TESTS}")
    monkeypatch.setenv("STAND_IN", str(folder))
    (folder / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder / "tmp"))


def make_engine(engine_args: str = "", *, engine_start_s: float = 60.0) -> SGLangEngine:
    settings = Settings(
        model_path="org/model", context_length=512, slots=4, engine_args=engine_args,
        engine_start_s=engine_start_s,
    )  # fmt: skip
    return SGLangEngine(settings, Path(sys.executable), "cpu", ASSUMED, SystemClock())


@asynccontextmanager
async def running(engine_args: str = "") -> AsyncGenerator[SGLangEngine]:
    engine = make_engine(engine_args)
    try:
        assert (await engine.start()).kv_capacity_tokens == 640
        yield engine
    finally:
        await engine.close()


def pids(place: Path) -> list[int]:
    """Of all servers so far."""
    return [int(line) for line in (place / "pids").read_text().split()]


def group(pid: int) -> list[int]:
    """The living processes of a server."""
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def is_gone(pid: int) -> Callable[[], bool]:
    return lambda: not group(pid)


def request(prompt_tokens: int = 40) -> EngineRequest:
    prompt = pack_tokens(range(prompt_tokens))
    return EngineRequest(JobId("j"), prompt, SamplingParams(max_new_tokens=4), "")


async def read(engine: SGLangEngine, count: int) -> list[PageEvent]:
    events: list[PageEvent] = []
    async with asyncio.timeout(20):
        async for batch in engine.page_events():
            events += batch
            if len(events) >= count:
                break
    return events


async def asked(place: Path) -> None:
    """Wait until the server has a request."""
    await asyncio.to_thread(eventually, (place / "asked").exists)


async def test_it_starts_a_server_speaks_to_it_and_ends_it(place: Path) -> None:
    async with running("--log-level debug --has-a-stubborn-child") as engine:
        assert (await complete(engine, request())).output_ids == (36, 37, 38, 39)
        assert await read(engine, 2) == [
            AllPagesCleared(), PagesStored([0, 1], None, [*range(32)])
        ]  # fmt: skip
        (pid,) = pids(place)
        assert len(group(pid)) >= 3
        assert (await engine.start()).slots == 4
        assert pids(place) == [pid], "a server that is well is kept"
        sent = (place / "arguments").read_text().split("\n")
        assert sent[-3:] == ["--log-level", "debug", "--has-a-stubborn-child"]
    eventually(is_gone(pid))
    assert [*(place / "tmp").iterdir()] == []
    with pytest.raises(EngineUnavailable):
        await complete(engine, request())


async def test_flush_empties_the_server(place: Path) -> None:
    async with running() as engine:
        await complete(engine, request())
        await read(engine, 2)
        await engine.flush()
        assert (await read(engine, 1))[0] == AllPagesCleared()
    assert pids(place)


async def test_a_killed_server_is_noticed_and_replaced(place: Path) -> None:
    async with running("--holds-answers") as engine:
        calls = [asyncio.create_task(complete(engine, request())) for _ in range(2)]
        await asked(place)
        (pid,) = pids(place)
        before = engine.steps
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            await engine.lost()
            for call in calls:
                with pytest.raises(EngineUnavailable):
                    await call
        await engine.start()
        assert len(set(pids(place))) == 2
        assert engine.steps >= before
        assert len([*(place / "tmp").iterdir()]) == 1
        assert (await read(engine, 1))[0] == AllPagesCleared()


async def test_a_stopped_server_is_replaced(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running("--holds-answers") as engine:
        call = asyncio.create_task(complete(engine, request()))
        await asked(place)
        (pid,) = pids(place)
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr("preble_workers.server_client.STEP_TIMEOUT", httpx2.Timeout(1.0))
        await engine.start()
        with pytest.raises(EngineUnavailable):
            await call
        assert len(set(pids(place))) == 2
        assert is_gone(pid)()


async def test_a_server_that_ends_at_once_is_told_by_its_last_line() -> None:
    engine = make_engine("--ends-at-once")
    with pytest.raises(EngineUnavailable, match="out of memory: the model is too large"):
        await engine.start()
    await engine.close()


async def test_a_command_line_it_does_not_understand_is_a_wrong_setting() -> None:
    engine = make_engine("--is-strange")
    with pytest.raises(ConfigError, match=": unrecognized arguments: --is-strange"):
        await engine.start()
    await engine.close()


@pytest.mark.parametrize("argument", ["--page-size 1", "--port 1"])
async def test_arguments_of_ours_are_refused_before_anything_is_started(argument: str) -> None:
    engine = make_engine(argument)
    with pytest.raises(ConfigError, match="setting engine_args"):
        await engine.start()
    await engine.close()


async def test_an_interpreter_that_is_not_there_is_a_wrong_setting(place: Path) -> None:
    engine = SGLangEngine(Settings(), place / "python", "cpu", ASSUMED, SystemClock())
    with pytest.raises(ConfigError, match="cannot start SGLang by"):
        await engine.start()
    await engine.close()
    assert [*(place / "tmp").iterdir()] == []


async def test_a_server_that_is_not_ready_in_time_is_ended(place: Path) -> None:
    engine = make_engine("--loads-for-ever", engine_start_s=1.0)
    with pytest.raises(EngineUnavailable, match="not ready within engine_start_s 1"):
        await engine.start()
    eventually(lambda: bool(pids(place)))
    pid = pids(place)[-1]
    await engine.close()
    assert is_gone(pid)()


async def test_a_server_that_is_not_ready_in_time_does_not_linger(place: Path) -> None:
    engine = make_engine("--loads-for-ever", engine_start_s=1.0)
    try:
        with pytest.raises(EngineUnavailable):
            await engine.start()
        eventually(lambda: bool(pids(place)))
        assert not group(pids(place)[-1])
    finally:
        await engine.close()


async def test_before_the_start_there_is_nothing_to_ask() -> None:
    engine = make_engine()
    with pytest.raises(EngineUnavailable, match="not running"):
        await complete(engine, request())
    await engine.close()


OWNER = """
import asyncio, sys
from pathlib import Path
from preble.clock import SystemClock
from preble.config import Settings
from preble_workers.engine import EngineInfo
from preble_workers.sglang_engine import SGLangEngine

async def own():
    settings = Settings(model_path="org/model", context_length=512, slots=4)
    info = EngineInfo(4, 640, 16, 512)
    await SGLangEngine(settings, Path(sys.executable), "cpu", info, SystemClock()).start()
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(own())
"""


def test_a_killed_worker_leaves_no_server(place: Path) -> None:
    environ = os.environ | {"TMPDIR": str(place / "tmp")}
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == b"started\n"
        (pid,) = pids(place)
        assert group(pid)
        owner.kill()
    eventually(is_gone(pid))

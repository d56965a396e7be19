"""`preble serve` as a user starts it: it prints URLs, restarts what dies, leaves nothing behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from proc_support import child_pids, command_line, is_gone
from support import eventually

from preble.client import Client
from preble.errors import ConfigError
from preble.messages import JobState
from preble.serve.embedded_redis import hold_folder
from preble.serve.processes import ChildSpec, Role
from preble.serve.supervisor import Supervisor

pytestmark = pytest.mark.process

WITHIN_S = 60.0


class Served:
    """A running `preble serve`."""

    def __init__(self, process: subprocess.Popen[str], log: Path, url: str) -> None:
        self.process = process
        self.log = log
        self.url = url

    @property
    def said(self) -> str:
        return self.log.read_text()

    def children(self) -> dict[str, int]:
        """Process ids of its children by what they run."""
        names = {"valkey-server": "valkey", "preble_api": "api", "preble_workers": "worker"}
        found: dict[str, int] = {}
        for pid in child_pids(self.process.pid):
            arguments = command_line(pid)
            found |= {name: pid for word, name in names.items() if word in arguments}
            if "scheduler_process" in arguments:
                found["scheduler"] = pid
        return found


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "preble", "serve", "--engine", "emulated", *flags]


@contextmanager
def served(folder: Path) -> Generator[Served]:
    """A stack on free ports, killed at the end if it still runs."""
    log = folder / "log"
    with log.open("w") as lines:
        process = subprocess.Popen(
            command("--port", "0", "--workers", "1", "--data-dir", str(folder / "data")),
            stdout=subprocess.PIPE,
            stderr=lines,
            text=True,
        )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        assert first.startswith("api"), log.read_text()
        yield Served(process, log, first.split()[1])
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("serve")) as running:
        yield running


def refusal(*flags: str) -> str:
    """What a serve says that cannot start: one line, status 2."""
    done = subprocess.run(
        command(*flags), capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_killed_worker_is_started_again_and_serves(stack: Served) -> None:
    killed = stack.children()["worker"]

    os.kill(killed, signal.SIGKILL)

    eventually(lambda: stack.children().get("worker", killed) != killed)
    assert "gpu0      | was killed by SIGKILL; starting it again in 0.5 s" in stack.said
    with Client(stack.url) as client:
        jobs = client.wait(client.submit([{"prompt": "Two and two is"}] * 3), timeout_s=WITHIN_S)
    assert [job.status for job in jobs] == [JobState.COMPLETED] * 3


def test_killed_valkey_comes_back_with_its_jobs(stack: Served) -> None:
    killed = stack.children()["valkey"]
    with Client(stack.url) as client:
        (job_id,) = client.submit([{"prompt": "Two and two is"}])
        client.wait([job_id], timeout_s=WITHIN_S)

        os.kill(killed, signal.SIGKILL)

        eventually(lambda: stack.children().get("valkey", killed) != killed)
        assert client.get(job_id).status is JobState.COMPLETED


def test_ctrl_c_stops_everything(tmp_path: Path) -> None:
    with served(tmp_path) as running:
        children = running.children()
        assert children.keys() == {"valkey", "api", "worker", "scheduler"}

        running.process.send_signal(signal.SIGINT)

        assert running.process.wait(WITHIN_S) == 0
        assert all(is_gone(pid) for pid in children.values())
        assert "killing" not in running.said


def test_killed_supervisor_leaves_no_orphan(tmp_path: Path) -> None:
    with served(tmp_path) as running:
        children = running.children()
        assert len(children) == 4

        running.process.kill()

        eventually(lambda: all(is_gone(pid) for pid in children.values()))


def test_taken_port_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        said = refusal("--port", str(port))

    assert said.count("\n") == 1
    assert f"port {port}" in said


def test_engine_without_url_is_refused_before_anything_starts() -> None:
    said = refusal("--port", "0", "--engine", "http")

    assert said.count("\n") == 1
    assert "--engine-url" in said


def test_data_folder_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        said = refusal("--port", "0", "--data-dir", str(tmp_path))

    assert said.count("\n") == 1
    assert str(tmp_path) in said


def test_child_that_refuses_its_settings_ends_all(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")

    said = refusal("--port", "0", "--data-dir", str(tmp_path / "data"), "--tokenizer", nowhere)

    last = said.splitlines()[-1]
    assert last.startswith("preble: ")
    assert nowhere in last
    assert "starting it again" not in said


class Play:
    """A supervisor with children of a few lines, and what was said."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self._news = asyncio.Event()

    def say(self, name: str, line: str) -> None:
        self.lines.append((name, line))
        self._news.set()

    def spoken(self, line: str) -> list[str]:
        return [name for name, said in self.lines if said == line]

    async def heard(self, line: str, times: int) -> None:
        async with asyncio.timeout(WITHIN_S):
            while len(self.spoken(line)) < times:
                self._news.clear()
                await self._news.wait()


def child(name: str, role: Role, code: str) -> ChildSpec:
    return ChildSpec(name, role, (sys.executable, "-S", "-u", "-c", code), dict(os.environ))


UNTIL_TERM = (
    "import signal, sys\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('ended')))\n"
    "print('up'); signal.pause()"
)
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); signal.pause()"
)


def test_children_stop_in_reverse_order_of_their_roles() -> None:
    play = Play()

    async def run() -> None:
        async with Supervisor(play.say) as supervisor:
            supervisor.start(child(role.name, role, UNTIL_TERM) for role in Role)
            await play.heard("up", len(Role))

    asyncio.run(run())

    assert play.spoken("ended") == ["API", "SCHEDULER", "WORKER", "REDIS"]


def test_child_that_does_not_stop_is_killed() -> None:
    play = Play()

    async def run() -> None:
        async with Supervisor(play.say, grace_s=0.1) as supervisor:
            supervisor.start([child("stubborn", Role.API, STUBBORN)])
            await play.heard("up", 1)

    asyncio.run(run())

    assert play.spoken("did not stop within 0.1 s: killing it") == ["stubborn"]


def test_second_ctrl_c_kills_at_once() -> None:
    play = Play()

    async def run() -> None:
        async with Supervisor(play.say, grace_s=WITHIN_S) as supervisor:
            supervisor.start([child("stubborn", Role.API, STUBBORN)])
            await play.heard("up", 1)
            os.kill(os.getpid(), signal.SIGINT)
            await supervisor.wait()
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)

    asyncio.run(run())

    assert play.spoken("asked again: killing what is left") == ["serve"]


def test_configuration_error_of_a_child_is_raised_in_its_words() -> None:
    async def run() -> None:
        async with Supervisor(Play().say) as supervisor:
            code = "print('preble-api: no such folder'); raise SystemExit(2)"
            supervisor.start([child("api", Role.API, code)])
            await supervisor.wait()

    with pytest.raises(ConfigError, match=r"^api cannot run: no such folder$"):
        asyncio.run(run())


def test_command_that_does_not_exist_is_tried_again() -> None:
    play = Play()

    async def run() -> None:
        async with Supervisor(play.say) as supervisor:
            supervisor.start([ChildSpec("ghost", Role.API, ("/does/not/exist",), {})])
            await play.heard("ended with status 127; starting it again in 0.5 s", 1)

    asyncio.run(run())

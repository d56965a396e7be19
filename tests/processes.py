"""The applications as real processes on a real Valkey, to be killed for real."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
from redis import Redis
from support import eventually, free_port, valkey

MODULES = {
    "api": "preble_api",
    "scheduler": "preble.scheduler_process",
    "worker": "preble_workers",
}

_HTTP = httpx2.Client(
    timeout=30, trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0)
)
"""One for all, for each takes 20 ms of CPU; and no connection outlives a process that is killed."""


class Stack:
    """Valkey, an api, a scheduler and workers. Each process logs to a file of its own."""

    def __init__(self, folder: Path, redis_port: int, settings: dict[str, str]) -> None:
        self.folder = folder
        self.redis_port = redis_port
        self.redis_url = f"redis://127.0.0.1:{redis_port}/0"
        self.url = f"http://127.0.0.1:{free_port()}"
        self._environ = {
            name: value for name, value in os.environ.items() if not name.startswith("PREBLE_")
        } | {
            "PREBLE_REDIS_URL": self.redis_url,
            "PREBLE_PORT": self.url.rpartition(":")[2],
            "PREBLE_LEASE_S": "2",
            "PREBLE_ENGINE": "emulated",
            "PREBLE_FILES_DIR": str(folder / "files"),
            **{f"PREBLE_{name.upper()}": value for name, value in settings.items()},
        }
        key = settings.get("api_key")
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, *, module: str = "", under: Sequence[str] = (), **settings: str
    ) -> None:
        """Start `api`, `scheduler1` or an instance's worker such as `gpu0`.

        Args:
            name: Of the process; digits at its end number those that do the same.
            module: Its entry, if it is another than the name says.
            under: A command that becomes this process, such as `ip netns exec NAME`.
            settings: Its own, over those of the stack.
        """
        module = module or MODULES.get(name.rstrip("0123456789"), MODULES["worker"])
        own = {f"PREBLE_{setting.upper()}": value for setting, value in settings.items()}
        environ = self._environ | {"PREBLE_INSTANCE": name} | own
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*under, sys.executable, "-m", module], env=environ, stderr=log, stdout=log
            )

    def kill(self, name: str) -> None:
        """Kill with -9, as the kernel would."""
        self.processes[name].kill()
        self.processes.pop(name).wait()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send any other signal."""
        self.processes[name].send_signal(number)

    def log(self, name: str) -> str:
        """What a process has logged so far."""
        return (self.folder / f"{name}.log").read_text()

    def ready(self, instances: int) -> bool:
        """Whether the api answers and sees so many instances."""
        try:
            reply = _HTTP.get(f"{self.url}/readyz")
        except httpx2.TransportError:
            return False
        return reply.status_code == 200 and reply.json()["instances"] == instances

    def submit(self, jobs: list[dict[str, object]]) -> list[str]:
        """Submit a list; returns the ids."""
        reply = _HTTP.post(f"{self.url}/v1/jobs", json=jobs, headers=self._headers)
        assert reply.status_code == 202, reply.text
        return [job["id"] for job in reply.json()["data"]]

    def job(self, job_id: str) -> dict[str, object]:
        """One job, as the api shows it."""
        reply = _HTTP.get(f"{self.url}/v1/jobs/{job_id}", headers=self._headers)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def totals(self) -> dict[str, int]:
        """Counts of ended jobs, from Redis itself."""
        with Redis(port=self.redis_port, decode_responses=True) as client:
            totals = client.hgetall("preble:default:totals")
        return {str(name): int(value) for name, value in totals.items()}

    def completed(self) -> int:
        """Jobs completed so far."""
        return self.totals().get("completed", 0)

    def stop(self) -> None:
        """Kill whatever still runs."""
        for name in list(self.processes):
            self.kill(name)


@contextmanager
def stack(
    folder: Path, *, instances: int = 2, ready_s: float = 30.0, **settings: str
) -> Generator[Stack]:
    """A running stack whose instances have joined."""
    port = free_port()
    with valkey(folder, port):
        made = Stack(folder, port, settings)
        try:
            for name in ("api", "scheduler", *(f"gpu{number}" for number in range(instances))):
                made.start(name)
            eventually(lambda: made.ready(instances), within_s=ready_s)
            yield made
        finally:
            made.stop()

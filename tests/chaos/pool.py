"""A pool of real processes to break: two apis, two schedulers, workers, each on a way of its own.

    clients ─▶ api x 2 ─┐
          scheduler x 2 ─┼─▶ chaos.proxy ─▶ Redis
             worker x 4 ─┘

The pool starts again what ends by itself, as a supervisor would, and keeps count of it.
"""

import asyncio
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx2
import msgspec
from chaos.final_state import POOL
from chaos.frail_worker import POISONED_EXIT
from chaos.links import Links, python_path
from chaos.means import Means
from chaos.memory import Sample
from chaos.proc import handles, rss_bytes
from chaos.redis_server import RedisServer
from chaos.wanted import PoolKind
from processes import Stack
from redis.exceptions import RedisError
from support import eventually, free_port

from preble.broker.keys import PoolKeys
from preble.clock import unix_s

APIS: Final = ("api0", "api1")
SCHEDULERS: Final = ("scheduler0", "scheduler1")
RESTART_AFTER_S: Final = 0.5
END_S: Final = 30.0
"""Longest that a process may take to end after SIGTERM."""
EMPTY_S: Final = 100.0
_SAID_CHARS: Final = 600
_WORKER: Final = "chaos.frail_worker"
_LEADER_KEY: Final = PoolKeys(POOL)("leader")
_COUNTS_KEY: Final = PoolKeys(POOL)("counts")


class Exit(msgspec.Struct, frozen=True):
    """A process that ended though nobody had ended it."""

    name: str
    at_s: float
    status: int
    said: str
    """The end of its log."""


class Pool(Stack):
    """The processes of one run.

    Args:
        folder: For logs and data.
        server: A Redis that runs.
        links: From each process to that.
        settings: Of all processes.
        means: What only some hosts have.
        kind: Its workers.
    """

    def __init__(
        self, folder: Path, server: RedisServer, links: Links, settings: Mapping[str, str],
        means: Means, kind: PoolKind,
    ) -> None:  # fmt: skip
        super().__init__(folder, server.port, dict(settings))
        self._environ["PYTHONPATH"] = python_path()
        self.server = server
        self.links = links
        self.kind = kind
        self.namespace = means.namespace
        self.disk = means.disk
        self.missing = means.missing
        self.ports = {name: free_port() for name in APIS}
        self.exits: list[Exit] = []
        self.samples: list[Sample] = []
        self._leaving: set[str] = set()
        self._begun_at_s: dict[str, float] = {}

    @property
    def workers(self) -> tuple[str, ...]:
        """Their names."""
        return self.kind.workers

    @property
    def names(self) -> tuple[str, ...]:
        """Of all processes."""
        return (*APIS, *SCHEDULERS, *self.workers)

    @property
    def urls(self) -> list[str]:
        """Of the apis."""
        return [f"http://127.0.0.1:{port}" for port in self.ports.values()]

    def launch(self, name: str) -> None:
        """Start one of the processes, unless it runs."""
        if (running := self.processes.get(name)) and running.poll() is None:
            return
        own = {"redis_url": self.links.url(name)}
        if name in self.ports:
            own["port"] = str(self.ports[name])
        module = _WORKER if name in self.workers else ""
        inside = self.namespace.command if self.namespace and name == self.workers[-1] else ()
        self.start(name, module=module, under=inside, **own)
        self._begun_at_s[name] = unix_s()

    def heal(self) -> None:
        """Start whatever does not run, as after a run that was broken off."""
        self.server.start()
        for name in self.names:
            self.launch(name)

    async def end(self, name: str) -> int:
        """Ask a process to end, and wait. Returns: Its status; -9 if it took too long."""
        self._leaving.add(name)
        process = self.processes[name]
        process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.to_thread(process.wait, END_S)
        except subprocess.TimeoutExpired:
            self._note_exit(name, -signal.SIGKILL)
            process.kill()
            return -signal.SIGKILL
        finally:
            self.processes.pop(name).wait()
            self._leaving.discard(name)

    def await_handler(self, name: str, number: signal.Signals) -> None:
        """Block until a process that has just begun would not die of a signal.

        Raises:
            TimeoutError: If it never handles it.
        """
        eventually(lambda: handles(self.processes[name].pid, number))

    def leader(self) -> str:
        """The scheduler that leads; the first if nobody does."""
        try:
            with self.server.client(timeout_s=1.0) as client:
                token = client.get(_LEADER_KEY)
        except RedisError:
            token = None
        led = f"token={token} "
        return next((name for name in SCHEDULERS if token and led in self.log(name)), SCHEDULERS[0])

    def standby(self) -> str:
        """The other scheduler."""
        return SCHEDULERS[1 - SCHEDULERS.index(self.leader())]

    def await_formed(self, within_s: float) -> None:
        """Block until it has. Raises: TimeoutError."""
        eventually(self.has_formed, within_s=within_s)

    def await_empty(self) -> None:
        """Block until all jobs have ended. Raises: TimeoutError after `EMPTY_S`."""
        with self.server.client() as client:
            eventually(lambda: client.hget(_COUNTS_KEY, "jobs") == "0", within_s=EMPTY_S)

    def has_formed(self) -> bool:
        """Whether both apis answer and see all workers."""
        return all(self._sees_all(url) for url in self.urls)

    def _sees_all(self, url: str) -> bool:
        try:
            reply = httpx2.get(f"{url}/readyz", timeout=5)
        except httpx2.TransportError:
            return False
        return reply.status_code == 200 and reply.json()["instances"] == len(self.workers)

    async def look_after(self) -> None:
        """Start again what has ended by itself, and sample memory."""
        for name in [*self.processes]:
            await self._look_after(name)

    async def _look_after(self, name: str) -> None:
        process = self.processes.get(name)
        if process is None or name in self._leaving:
            return
        if (status := process.poll()) is None:
            now_s = unix_s()
            age_s = now_s - self._begun_at_s[name]
            self.samples.append(Sample(name, now_s, age_s, rss_bytes(process.pid)))
            return
        self._note_exit(name, status)
        self._leaving.add(name)
        await asyncio.sleep(RESTART_AFTER_S)
        self._leaving.discard(name)
        self.launch(name)

    def _note_exit(self, name: str, status: int) -> None:
        if status != POISONED_EXIT:
            self.exits.append(Exit(name, unix_s(), status, self.log(name)[-_SAID_CHARS:]))

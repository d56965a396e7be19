"""A Redis or Valkey of the run's own, to be killed, stopped and filled; its data stays."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Final

from redis import Redis
from redis.exceptions import RedisError
from support import eventually

from preble.serve.embedded_redis import valkey_command

LOADING_S: Final = 60.0
"""That it may take to read its append-only file again."""
FULL_BYTES: Final = 1
JUMP_S: Final = 20
"""By which its clock jumps."""


class RedisServer:
    """One server on loopback, with an append-only file in a folder.

    Args:
        binary: Of Redis 7 or Valkey.
        folder: For its data; the log lies beside it.
        port: A free one.
        faketime: The library that lets its clock jump, if it is to.
    """

    def __init__(
        self, binary: Path, folder: Path, port: int, *, faketime: Path | None = None
    ) -> None:
        self.port = port
        self.faketime = faketime
        self._command = valkey_command(binary, folder, port)
        self._log = folder.with_suffix(".log")
        self._clock = folder.with_suffix(".clock")
        self._environ = dict(os.environ)
        if faketime:
            self._environ |= {
                "LD_PRELOAD": str(faketime),
                "FAKETIME_TIMESTAMP_FILE": str(self._clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        self._process: subprocess.Popen[bytes] | None = None
        self.set_clock(0)

    @property
    def pid(self) -> int:
        """Of the server, which runs."""
        assert self._process
        return self._process.pid

    def client(self, *, timeout_s: float = 10.0) -> Redis:
        """A way to it past all proxies; close it."""
        return Redis(port=self.port, decode_responses=True, socket_timeout=timeout_s)

    def start(self) -> None:
        """Return when it answers; one that runs is left alone. Raises: TimeoutError."""
        if self._process and self._process.poll() is None:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True, env=self._environ
            )
        eventually(self._answers, within_s=LOADING_S)

    def kill(self) -> None:
        """With -9; whatever it has not written to its file is lost."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Stop it, or let it go on."""
        os.kill(self.pid, number)

    def cut_clients(self) -> None:
        """Close all connections but the one that says so."""
        with self.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def limit(self, max_bytes: int) -> None:
        """Bound its memory; 0 lifts the bound."""
        with self.client() as client:
            client.config_set("maxmemory", max_bytes)

    def rewrite(self) -> None:
        """Write the append-only file anew, from memory. Raises: TimeoutError.

        After a full disk it must be: what Redis 7.0 and Valkey 9.1 had begun to write is cut off at
        a wrong place if the file was rewritten before, and they refuse it at their next start.
        """
        with self.client() as client:
            eventually(lambda: self._is_written(client), within_s=LOADING_S)
            client.execute_command("BGREWRITEAOF")
            eventually(lambda: self._is_written(client), within_s=LOADING_S)

    @staticmethod
    def _is_written(client: Redis) -> bool:
        """Whether nothing was refused lately, and no rewriting is under way."""
        state = client.info("persistence")
        return state["aof_last_write_status"] == "ok" and not state["aof_rewrite_in_progress"]

    def set_clock(self, ahead_s: int) -> None:
        """Let its clock be ahead of this host's, once it looks."""
        self._clock.write_text(f"{ahead_s:+d}")

    def _answers(self) -> bool:
        with self.client(timeout_s=1.0) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False

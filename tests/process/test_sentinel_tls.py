"""`rediss+sentinel://`: the Sentinel and both servers speak TLS alone, and one takes over."""

import shutil
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from processes import Stack
from redis import Redis
from redis.exceptions import RedisError
from support import eventually, free_port
from tls_support import NEEDS, make_certificates

REDIS = shutil.which("redis-check-rdb")
"""The program of `redis-server`, in Debian's `redis-tools`; the embedded Valkey knows no TLS."""

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(REDIS is None, reason="there is no redis-check-rdb"),
    pytest.mark.skipif(shutil.which(NEEDS) is None, reason=f"there is no {NEEDS}"),
]

SERVICE = "preble"
GOES_ON_S = 30.0
JOB: dict[str, object] = {"input_ids": [*range(64)], "sampling_params": {"max_new_tokens": 8}}


class Server:
    """A Redis that listens by TLS only; killed at the end of its block."""

    def __init__(self, certificates: Path, folder: Path, arguments: Sequence[str]) -> None:
        folder.mkdir()
        self.port = free_port()
        self._ca = certificates / "ca.pem"
        tls = {
            "port": "0", "tls-port": str(self.port), "tls-replication": "yes",
            "tls-auth-clients": "no", "tls-ca-cert-file": str(self._ca),
            "tls-cert-file": f"{certificates}/server.pem",
            "tls-key-file": f"{certificates}/server.key", "dir": str(folder), "bind": "127.0.0.1",
        }  # fmt: skip
        config = folder / "conf"
        config.write_text(
            "\n".join([*(f"{key} {value}" for key, value in tls.items()), *arguments])
        )
        sentinel = ["--sentinel"] if any("sentinel" in each for each in arguments) else []
        command = ["redis-server", str(config), *sentinel]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, executable=REDIS, stdout=log, stderr=log)

    def look(self) -> Redis:
        """A client."""
        return Redis(
            "127.0.0.1", self.port, ssl=True, ssl_ca_certs=str(self._ca), decode_responses=True
        )

    def is_primary(self) -> bool:
        """Whether it answers, and writes go to it."""
        return self._role() == "master"

    def follows(self) -> bool:
        """Whether it is a replica that has all of its primary."""
        with self.look() as client:
            try:
                return bool(client.info("replication").get("master_link_status") == "up")
            except RedisError:
                return False

    def _role(self) -> str:
        with self.look() as client:
            try:
                return str(client.info("replication")["role"])
            except RedisError:
                return ""


@contextmanager
def watched_pair(place: Path) -> Generator[tuple[Server, Server, Server]]:
    """A primary, its replica, and the Sentinel that knows both."""
    started: list[Server] = []

    def start(name: str, *arguments: str) -> Server:
        started.append(Server(place, place / name, arguments))
        return started[-1]

    try:
        primary = start("one", "appendonly yes")
        eventually(primary.is_primary)
        replica = start("two", "appendonly yes", f"replicaof 127.0.0.1 {primary.port}",
                        "repl-diskless-sync-delay 0")  # fmt: skip
        eventually(replica.follows)
        sentinel = start(
            "watch", f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1",
            f"sentinel down-after-milliseconds {SERVICE} 1000",
            f"sentinel failover-timeout {SERVICE} 5000",
        )  # fmt: skip
        eventually(lambda: knows_replica(sentinel))
        yield primary, replica, sentinel
    finally:
        for server in started:
            server.process.kill()
            server.process.wait()


def knows_replica(sentinel: Server) -> bool:
    """Whether it could make one the primary."""
    with sentinel.look() as client:
        try:
            known: Any = client.sentinel_master(SERVICE)
            return bool(known["num-slaves"] == 1)
        except RedisError:
            return False


def completes(running: Stack) -> bool:
    """Whether a job is accepted and answered; while nothing is, False."""
    try:
        reply = httpx2.post(f"{running.url}/v1/jobs", json=JOB, timeout=30)
    except httpx2.TransportError:
        return False
    if reply.status_code != 202:
        return False
    job_id = reply.json()["id"]
    eventually(lambda: running.job(job_id)["status"] == "completed", within_s=GOES_ON_S)
    return True


def test_jobs_go_on_after_a_failover_by_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificates(tmp_path, "IP:127.0.0.1")  # Sentinels tell addresses
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with watched_pair(tmp_path) as (primary, replica, sentinel):
        url = f"rediss+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}/0"
        running = Stack(tmp_path, primary.port, {"redis_url": url, "emulated_speed": "25"})
        try:
            for name in ("api", "scheduler", "gpu0"):
                running.start(name)
            eventually(lambda: running.ready(1))
            [before] = running.submit([JOB])
            eventually(lambda: running.job(before)["status"] == "completed")

            primary.process.kill()
            eventually(replica.is_primary, within_s=GOES_ON_S)

            eventually(lambda: completes(running), within_s=GOES_ON_S)
            assert running.job(before)["status"] == "completed"
        finally:
            running.stop()

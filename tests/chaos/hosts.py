"""Network namespaces as three hosts on a switch, and a pool across them; one host is cut off.

    front: Redis, api, scheduler ──┐
    a: worker a0                 ──┼── switch ── the test
    b: worker b0                 ──┘

The switch is a namespace, too: else this machine's firewall would judge what passes through it,
and Docker's lets nothing pass. Each role has its own account of Redis. `python -m chaos.hosts 60`
cuts host a off for 60 s under load, heals it, and counts. It needs root and `ip`.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from acl_support import open_accounts
from chaos.namespace import Namespace
from processes import Stack
from redis import Redis
from support import eventually, free_port, valkey

NAMES: Final = ("front", "a", "b")
WORKERS: Final = {"a0": "a", "b0": "b"}
LEASE_S: Final = "1"
POOL: Final = "default"
BRIDGE: Final = "br0"


def why_not() -> str:
    """Why there can be no hosts here; empty if there can."""
    if reason := Namespace.why_not():
        return reason
    probe = f"probe{os.getpid()}"
    try:
        _ip(f"netns add {probe}")
        _ip(f"netns del {probe}")
    except subprocess.CalledProcessError:
        return "the kernel lets us make no network namespaces"
    return ""


class Host:
    """A namespace with one cable to the switch.

    Args:
        name: Of the host.
        number: Of its address in the net.
        net: The first three bytes of all addresses.
        switch: The namespace that is the switch.
    """

    def __init__(self, name: str, number: int, net: str, switch: str) -> None:
        self.address = f"{net}.{number}"
        self._name = f"{name}{os.getpid()}"
        self._switch = switch
        self.command = ("ip", "netns", "exec", self._name)

    def build(self) -> None:
        """Make it. Raises: CalledProcessError."""
        name = self._name
        _ip(f"netns add {name}")
        _ip(f"-n {self._switch} link add {name} type veth peer name eth0 netns {name}")
        _ip(f"-n {self._switch} link set {name} master {BRIDGE} up")
        _ip(f"-n {name} addr add {self.address}/24 dev eth0")
        _ip(f"-n {name} link set eth0 up")
        _ip(f"-n {name} link set lo up")

    def pull(self) -> None:
        """Take the cable out: packets are lost, and nobody is told."""
        _ip(f"-n {self._switch} link set {self._name} down")

    def plug(self) -> None:
        """Put it in again."""
        _ip(f"-n {self._switch} link set {self._name} up")

    def remove(self) -> None:
        """Undo `build`, as far as it went."""
        subprocess.run(["ip", "netns", "del", self._name], check=False, capture_output=True)  # noqa: S607  # PATH finds it


class Counts(NamedTuple):
    """What became of the jobs of a run."""

    accepted: int
    lost: int
    duplicated: int
    refused_late: int
    """Results of the host that was cut off, refused by the fence or dropped by its worker."""


class Hosts(NamedTuple):
    """The hosts, the pool across them, and a look at its Redis with all rights."""

    hosts: dict[str, Host]
    pool: Stack
    redis: Redis

    def completed(self) -> int:
        """Jobs completed so far."""
        return int(self.redis.hget(f"preble:{POOL}:totals", "completed") or 0)

    def counts(self, ids: list[str]) -> Counts:
        """What became of these jobs, once all have ended."""
        kept = [self.redis.xlen(f"rq:results:{job_id}") for job_id in ids]
        log = self.pool.log("a0")
        dropped = sum(int(part.split()[0]) for part in log.split("dropped_jobs=")[1:])
        surplus = self.completed() - len(ids)  # each job counts once, whatever its results
        return Counts(
            len(ids), kept.count(0), sum(each > 1 for each in kept) + max(0, surplus),
            log.count("was refused") + dropped,
        )  # fmt: skip


@contextmanager
def hosts(folder: Path) -> Generator[Hosts]:
    """A pool across three hosts. Raises: CalledProcessError if the kernel does not let us."""
    with ExitStack() as stack:
        net = f"10.214.{os.getpid() % 250}"
        switch = f"sw{os.getpid()}"
        _ip(f"netns add {switch}")
        stack.callback(_ip, f"netns del {switch}")
        _ip(f"-n {switch} link add {BRIDGE} type bridge")
        _ip(f"-n {switch} link set {BRIDGE} up")
        _plug_in_this_machine(switch, f"{net}.1")
        made = {name: Host(name, number, net, switch) for number, name in enumerate(NAMES, 2)}
        for host in made.values():
            stack.callback(host.remove)
            host.build()
        yield stack.enter_context(_pool(folder, made))


def _plug_in_this_machine(switch: str, address: str) -> None:
    """With a cable to the switch, which goes with it."""
    _ip(f"link add {switch} type veth peer name test netns {switch}")
    _ip(f"-n {switch} link set test master {BRIDGE} up")
    _ip(f"addr add {address}/24 dev {switch}")
    _ip(f"link set {switch} up")


@contextmanager
def _pool(folder: Path, made: dict[str, Host]) -> Generator[Hosts]:
    front, port = made["front"], free_port()
    server = valkey(folder, port, "--protected-mode", "no", host=front.address, under=front.command)
    with server, Redis(host=front.address, port=port, decode_responses=True) as redis:
        users = open_accounts(redis, POOL)
        settings = {
            "lease_s": LEASE_S, "emulated_speed": "5", "slots": "8", "host": "0.0.0.0",  # noqa: S104  # its own host
            "binding": "eager", "policy": "round_robin", "api_key": "of-a-test",
        }  # fmt: skip
        pool = Stack(folder, port, settings)
        pool.url = pool.url.replace("127.0.0.1", front.address)
        at = f"{front.address}:{port}/0"
        try:
            for name in ("api", "scheduler"):
                pool.start(name, under=front.command, redis_url=f"redis://{users[name]}@{at}")
            for name, host in WORKERS.items():
                pool.start(
                    name, under=made[host].command, redis_url=f"redis://{users['worker']}@{at}"
                )
            eventually(lambda: pool.ready(len(WORKERS)))
            yield Hosts(made, pool, redis)
        finally:
            pool.stop()


def cut_and_heal(running: Hosts, cut_s: float) -> Counts:
    """Cut host a off under load, heal it, and wait until it serves again.

    Args:
        running: The pool.
        cut_s: For at least so long; longer than the lease.
    """
    ids = running.pool.submit(_jobs(100))
    eventually(lambda: any(_runs_on_a(running, job_id) for job_id in ids))
    began_s = time.monotonic()
    running.hosts["a"].pull()
    while time.monotonic() - began_s < cut_s or running.completed() < len(ids):
        ids.extend(running.pool.submit(_jobs(20)))
        eventually(lambda: running.completed() >= len(ids), within_s=60)
    running.hosts["a"].plug()
    eventually(lambda: "beginning anew" in running.pool.log("a0"), within_s=60)
    eventually(lambda: running.pool.ready(len(WORKERS)))
    more = running.pool.submit(_jobs(20))
    eventually(lambda: running.completed() >= len(ids) + len(more), within_s=60)
    assert any(running.pool.job(job_id)["instance"] == "a0" for job_id in more)
    return running.counts(ids + more)


def _runs_on_a(running: Hosts, job_id: str) -> bool:
    job = running.pool.job(job_id)
    return job["status"] == "running" and job["instance"] == "a0"


def _jobs(number: int) -> list[dict[str, object]]:
    params = {"max_new_tokens": 32}
    return [{"input_ids": [*range(64)], "sampling_params": params} for _ in range(number)]


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)  # noqa: S607  # PATH finds it


def main(cut_s: float) -> int:
    """One run by hand. Returns the exit status: 1 if a job was lost or has two results."""
    with tempfile.TemporaryDirectory() as folder, hosts(Path(folder)) as running:
        counts = cut_and_heal(running, cut_s)
    print(f"cut off for {cut_s:g} s: {counts}")  # noqa: T201  # for people
    return int(bool(counts.lost or counts.duplicated))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))

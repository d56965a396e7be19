"""Compose, as a user calls it, and what the engine says of the containers."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tools.compose_test.pools import Pool
from tools.compose_test.waiting import CheckFailed, last_lines, require, say, wait_until

FOLDER: Final = Path(__file__).resolve().parents[2]

PROFILES: Final = ("emulated", "observability")
"""From which services may be started, by their names."""

BUILD_TIMEOUT_S: Final = 3600.0
COMMAND_TIMEOUT_S: Final = 600.0
READY_TIMEOUT_S: Final = 600.0
RESTART_TIMEOUT_S: Final = 60.0

_STATE: Final = "{{.State.StartedAt}} {{if .State.Health}}{{.State.Health.Status}}{{end}}"


class Container(NamedTuple):
    """How a service's container stands."""

    started_at: str
    health: str


class Compose:
    """Compose, for one project.

    Args:
        command: How Compose is called here.
        project: Name of containers, network and volumes.
        pool: Whose services they are.
        environ: What the file's variables are taken from.
    """

    def __init__(
        self, command: Sequence[str], project: str, pool: Pool, environ: Mapping[str, str]
    ) -> None:
        self.project = project
        self._pool = pool
        # Else `down` leaves what belongs to a profile.
        profiles = [argument for name in PROFILES for argument in ("--profile", name)]
        self._command = [*command, "--ansi", "never", "--project-name", project, *profiles]
        self._environ = dict(environ)

    def run(self, *arguments: str) -> str:
        """One command, its output returned. Raises: CheckFailed, with the output's end."""
        return execute([*self._command, *arguments], self._environ)

    def build(self) -> None:
        """Build the images; what the builder says is shown only if it fails."""
        with tempfile.NamedTemporaryFile("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [*self._command, "build", *self._pool.built],
                cwd=FOLDER, env=self._environ, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            said = Path(log.name)
            try:
                wait_until(
                    lambda: process.poll() is not None, "the images are built",
                    BUILD_TIMEOUT_S, lambda: f"building: {last_step(read(said))}",
                )  # fmt: skip
            finally:
                process.terminate()
                process.wait()
            require(process.returncode == 0, f"the build failed:\n{last_lines(read(said), 30)}")

    def up(self) -> None:
        """Start the pool's services, and wait until each says that it is well."""
        self.run("up", "--detach", *self._pool.services)
        self.wait_until_healthy(self._pool.services)

    def wait_until_healthy(self, services: Sequence[str]) -> None:
        """Raises: CheckFailed if it takes too long, naming those that are not."""

        def unwell() -> dict[str, str]:
            found = {service: self.container(service).health for service in services}
            return {service: health for service, health in found.items() if health != "healthy"}

        wait_until(lambda: not unwell(), "all are healthy", READY_TIMEOUT_S, lambda: f"{unwell()}")

    def container(self, service: str) -> Container:
        """Of a service that has one. Raises: CheckFailed."""
        identifier = self._identifier(service)
        said = execute(["docker", "inspect", "--format", _STATE, identifier], self._environ)
        started_at, _, health = said.strip().partition(" ")
        return Container(started_at, health)

    def kill(self, service: str) -> None:
        """Kill all that runs in its container, as the kernel does when it is out of memory.

        `docker kill` would not do: what was stopped by hand is not started again.
        """
        # As the user that it runs as, for nobody else may, where capabilities are dropped; root is
        # the init of some, and whoever asks for their health.
        listed = execute(
            ["docker", "top", self._identifier(service), "-eo", "pid,uid"], self._environ
        )
        user = max(int(line.split()[1]) for line in listed.splitlines()[1:])
        command = (
            *self._command, "exec", "-T", "--user", str(user), service, "sh", "-c", "kill -9 -1",
        )  # fmt: skip
        subprocess.run(  # noqa: S603 - our own command; its status is that of a container that dies
            command, cwd=FOLDER, env=self._environ, timeout=COMMAND_TIMEOUT_S, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def remove_containers(self) -> None:
        """Stop and remove all of them; volumes stay."""
        self.run("down", "--timeout", "20")

    def show_logs(self, num_lines: int) -> None:
        """The end of what each service said."""
        for service in self._pool.services:
            say(f"--- {service}")
            try:
                said = self.run("logs", "--no-color", service)
            except CheckFailed as error:
                said = str(error)
            print(last_lines(said, num_lines), flush=True)

    def take_down(self) -> None:
        """Remove everything. Raises: CheckFailed if something is left behind."""
        self.run("down", "--volumes", "--remove-orphans", "--timeout", "20")
        mine = ["--quiet", "--filter", f"label=com.docker.compose.project={self.project}"]
        for kind, listing in (("container", ["ps", "--all"]), ("network", ["network", "ls"]),
                              ("volume", ["volume", "ls"])):  # fmt: skip
            if left := execute(["docker", *listing, *mine], self._environ).split():
                msg = f"a {kind} was left behind: {', '.join(left)}"
                raise CheckFailed(msg)
        say("no container, network or volume is left")

    def _identifier(self, service: str) -> str:
        return self.run("ps", "--quiet", service).strip()


def find_compose() -> list[str]:
    """How Compose is called. Raises: CheckFailed if it or an engine is missing."""
    if shutil.which("docker") is None:
        raise CheckFailed("docker is not installed")
    engine = os.environ.get("DOCKER_HOST", "the default socket")
    try:
        execute(["docker", "info"], os.environ)
    except CheckFailed:
        msg = f"no Docker engine answers at {engine}: start one, or set DOCKER_HOST"
        raise CheckFailed(msg) from None
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            try:
                execute([*command, "version"], os.environ)
            except CheckFailed:
                continue
            return command
    raise CheckFailed("neither `docker compose` nor `docker-compose` is installed")


def execute(command: Sequence[str], environ: Mapping[str, str]) -> str:
    """Output of a command. Raises: CheckFailed, with the output's end."""
    try:
        done = subprocess.run(  # noqa: S603 - our own commands
            command, cwd=FOLDER, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", timeout=COMMAND_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        msg = f"`{' '.join(command)}` took longer than {COMMAND_TIMEOUT_S:.0f} s"
        raise CheckFailed(msg) from None
    if done.returncode:
        msg = f"`{' '.join(command)}` failed:\n{last_lines(done.stdout, 20)}"
        raise CheckFailed(msg)
    return done.stdout


def read(file: Path) -> str:
    """A text that may be of any encoding."""
    return file.read_text(encoding="utf-8", errors="replace")


def last_step(build_log: str) -> str:
    """The newest line that tells a reader something."""
    lines = [line.strip() for line in build_log.splitlines()]
    told = [line for line in lines if line and not line.startswith("--->")]
    return told[-1][:100] if told else "begins"

"""Bring the stack of docker-compose.yml up, have it answer jobs, and take it down again.

    python tools/compose_test.py [--keep]

Runs on the engine that DOCKER_HOST names, under a project name and on a port of its own, so
it disturbs no other stack. Exit status 0 only if every check held and nothing is left behind
but the images. `PREBLE_ENGINE=emulated` tests all but SGLang itself.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Final

import httpx2
import msgspec

from preble.client import Client, Job, JobFields
from preble.errors import PrebleError
from preble.messages import JobState

FOLDER: Final = Path(__file__).resolve().parent.parent
SERVICES: Final = ("redis", "api", "scheduler", "worker-0", "worker-1")
NUM_INSTANCES: Final = 2
API_KEY: Final = "compose-test"

BUILD_TIMEOUT_S: Final = 3600.0
READY_TIMEOUT_S: Final = 600.0
JOBS_TIMEOUT_S: Final = 300.0
COMMAND_TIMEOUT_S: Final = 600.0
PROGRESS_EVERY_S: Final = 15.0
POLL_S: Final = 1.0

NUM_PREFIXES: Final = 3
JOBS_PER_PREFIX: Final = 8
OUTPUT_TOKENS: Final = 16
SENTENCES: Final = 24
"""In each shared prefix: enough for several blocks of 64 tokens, by any tokenizer."""


class CheckFailed(Exception):
    """The stack does not do what it should."""


class Compose:
    """Compose, for one project.

    Args:
        command: How Compose is called here.
        project: Name of containers, network and volumes.
        environ: What the file's variables are taken from.
    """

    def __init__(self, command: Sequence[str], project: str, environ: Mapping[str, str]) -> None:
        self.project = project
        self._command = [*command, "--ansi", "never", "--project-name", project]
        self._environ = dict(environ)

    def run(self, *arguments: str) -> str:
        """One command, its output returned. Raises: CheckFailed, with the output's end."""
        return execute([*self._command, *arguments], self._environ)

    def build(self) -> None:
        """Build the images; what the builder says is shown only if it fails."""
        with tempfile.NamedTemporaryFile("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own command
                [*self._command, "build", *SERVICES[1:]],
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

    def show_logs(self, num_lines: int) -> None:
        """The end of what each service said."""
        for service in SERVICES:
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


def main() -> None:
    """Run the test. Exits with one line and status 1 if a check does not hold."""
    parser = argparse.ArgumentParser(description="Test docker-compose.yml on a real engine.")
    parser.add_argument("--keep", action="store_true", help="Leave the stack up, to look at it.")
    keep: bool = parser.parse_args().keep
    # As an exit, so that the stack is taken down as after an error.
    signal.signal(signal.SIGTERM, exit_on_signal)
    try:
        test(keep=keep)
    except (CheckFailed, PrebleError) as error:
        sys.exit(f"compose-test: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Exit as shells report an end by a signal."""
    del frame
    sys.exit(128 + number)


def test(*, keep: bool) -> None:
    """Build, start, use and remove the stack. Raises: CheckFailed, PrebleError."""
    command = find_compose()
    port = free_port()
    environ = {**os.environ, "PREBLE_PORT": str(port), "PREBLE_API_KEY": API_KEY}
    compose = Compose(command, f"preble-test-{os.getpid()}", environ)
    say(f"project {compose.project}, engine {environ.get('PREBLE_ENGINE') or 'sglang'}")
    compose.build()
    build_s = elapsed_s()
    say("built")
    try:
        try_stack(compose, f"http://127.0.0.1:{port}")
    finally:
        if keep:
            say(f"kept on port {port}; docker compose -p {compose.project} down -v removes it")
        else:
            compose.take_down()
    say(f"passed: build {build_s:.0f} s, test {elapsed_s() - build_s:.0f} s")


def try_stack(compose: Compose, url: str) -> None:
    """Start the services and have them answer; in any case show what they said."""
    try:
        compose.run("up", "--detach", *SERVICES)
        wait_until(
            lambda: num_instances(url) == NUM_INSTANCES, f"{NUM_INSTANCES} instances work",
            READY_TIMEOUT_S, lambda: f"{num_instances(url)} of {NUM_INSTANCES} instances",
        )  # fmt: skip
        say(f"{NUM_INSTANCES} instances at {url}")
        check_key_is_asked_for(url)
        started_s = elapsed_s()
        jobs = run_jobs(url)
        show_figures(jobs, elapsed_s() - started_s)
        check(jobs)
    except BaseException as error:
        say(f"failed: {error or type(error).__name__}")
        compose.show_logs(40)
        raise
    compose.show_logs(6)


def run_jobs(url: str) -> list[Job]:
    """Submit the prompts over the published port, and await them."""
    with Client(url, api_key=API_KEY) as client:
        ids = client.submit(make_jobs())
        say(f"{len(ids)} jobs accepted")
        last_shown_s = elapsed_s()

        def show(num_ended: int) -> None:
            nonlocal last_shown_s
            if elapsed_s() - last_shown_s >= PROGRESS_EVERY_S:
                last_shown_s = elapsed_s()
                say(f"{num_ended} of {len(ids)} jobs ended")

        return client.wait(ids, timeout_s=JOBS_TIMEOUT_S, on_progress=show)


def make_jobs() -> list[JobFields]:
    """Short questions behind a few long prefixes, in turn."""
    prefixes = [
        " ".join(
            f"Rule {number} of house {house}: keep shelf {number * 7 % 31} tidy."
            for number in range(SENTENCES)
        )
        for house in range(NUM_PREFIXES)
    ]
    sampling = {"max_new_tokens": OUTPUT_TOKENS, "temperature": 0, "ignore_eos": True}
    return [
        {"prompt": f"{prefix} Shelf {question} is", "sampling_params": sampling}
        for question in range(JOBS_PER_PREFIX)
        for prefix in prefixes
    ]


def show_figures(jobs: Sequence[Job], wall_s: float) -> None:
    """What the jobs came to."""
    usages = [job.result.usage for job in jobs if job.result]
    predicted = sum(job.assignment.predicted_hit_tokens for job in jobs if job.assignment)
    say(
        f"{len(usages)} of {len(jobs)} jobs completed in {wall_s:.1f} s; "
        f"{sum(usage.completion_tokens for usage in usages)} output tokens; "
        f"{sum(usage.prompt_tokens for usage in usages)} prompt tokens, of which hits: "
        f"{predicted} predicted, {sum(usage.cached_tokens for usage in usages)} delivered"
    )
    per_instance = Counter(job.instance or "none" for job in jobs)
    say("jobs on each instance: " + ", ".join(f"{i} {n}" for i, n in sorted(per_instance.items())))
    if jobs and jobs[0].result:
        say(f"first text: {jobs[0].result.text!r}")


def check(jobs: Sequence[Job]) -> None:
    """Raises: CheckFailed, naming what does not hold."""
    failed = [job for job in jobs if job.status is not JobState.COMPLETED]
    require(not failed, f"{len(failed)} jobs failed, the first with {failed and failed[0].error}")
    require(len({job.id for job in jobs}) == NUM_PREFIXES * JOBS_PER_PREFIX, "a job is missing")
    require(all(job.result and job.result.text.strip() for job in jobs), "a text is empty")
    require(len({job.instance for job in jobs}) == NUM_INSTANCES, "one instance got no job")
    hits = sum(job.result.usage.cached_tokens for job in jobs if job.result)
    require(hits > 0, "no engine took any prompt token from its KV cache")


def check_key_is_asked_for(url: str) -> None:
    """Raises: CheckFailed if the api answers anyone."""
    status = get(f"{url}/v1/jobs/none").status_code
    require(status == HTTPStatus.UNAUTHORIZED, f"a request without the key was answered {status}")


def require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raises: CheckFailed."""
    if not holds:
        raise CheckFailed(otherwise)


class _Health(msgspec.Struct):
    instances: int = 0


def num_instances(url: str) -> int:
    """How many instances the api counts; 0 while it does not answer."""
    try:
        return msgspec.json.decode(get(f"{url}/readyz").content, type=_Health).instances
    except (httpx2.TransportError, msgspec.DecodeError):
        return 0


def get(url: str) -> httpx2.Response:
    """Ask without a key, and without the environment's proxies. Raises: httpx2.TransportError."""
    return httpx2.get(url, timeout=5.0, trust_env=False)


def wait_until(
    holds: Callable[[], bool], what: str, timeout_s: float, progress: Callable[[], str]
) -> None:
    """Poll, with a line now and then. Raises: CheckFailed if it takes too long."""
    began_s = shown_s = elapsed_s()
    while not holds():
        now_s = elapsed_s()
        require(now_s - began_s < timeout_s, f"not within {timeout_s:.0f} s: {what}")
        if now_s - shown_s >= PROGRESS_EVERY_S:
            shown_s = now_s
            say(progress())
        time.sleep(POLL_S)


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


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def read(file: Path) -> str:
    """A text that may be of any encoding."""
    return file.read_text(encoding="utf-8", errors="replace")


def last_step(build_log: str) -> str:
    """The newest line that tells a reader something."""
    lines = [line.strip() for line in build_log.splitlines()]
    told = [line for line in lines if line and not line.startswith("--->")]
    return told[-1][:100] if told else "begins"


def last_lines(text: str, number: int) -> str:
    """The end of a text."""
    return "\n".join(text.strip().splitlines()[-number:])


_BEGAN_S: Final = time.monotonic()


def elapsed_s() -> float:
    """Seconds since the test began."""
    return time.monotonic() - _BEGAN_S


def say(line: str) -> None:
    """One line of the log."""
    print(f"[{elapsed_s():6.1f} s] {line}", flush=True)


if __name__ == "__main__":
    main()

"""Bring the stack of docker-compose.yml up, use it, break it, and take it down again.

    built ─▶ healthy ─▶ jobs ─▶ a batch ─▶ each container killed under load
                                           └─▶ restarted with jobs queued ─▶ gone

    python -m tools.compose_test [--engine emulated] [--prometheus] [--keep]

Runs on the engine that DOCKER_HOST names, under a project name and on a port of its own, so
it disturbs no other stack. Exit status 0 only if every check held and nothing is left behind
but the images.

    pools.py     which services there are
    compose.py   Compose and its containers
    traffic.py   what a client sends through the published port, and what must come back
    steps.py     what is done to the stack meanwhile
    waiting.py   the log, patience, and complaints
"""

import argparse
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from preble.errors import PrebleError
from tools.compose_test.compose import Compose, find_compose
from tools.compose_test.pools import POOLS, Pool
from tools.compose_test.steps import Stack, try_stack
from tools.compose_test.waiting import CheckFailed, elapsed_s, say

API_KEY = "compose-test"


def main() -> None:
    """Run the test. Exits with one line and status 1 if a check does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.compose_test", description="Test docker-compose.yml on a real engine."
    )
    parser.add_argument("--engine", choices=POOLS, default="sglang", help="Of the pool to test.")
    parser.add_argument("--prometheus", action="store_true", help="See that it scrapes all.")
    parser.add_argument("--keep", action="store_true", help="Leave the stack up, to look at it.")
    asked = parser.parse_args()
    # As an exit, so that the stack is taken down as after an error.
    signal.signal(signal.SIGTERM, exit_on_signal)
    try:
        test(POOLS[asked.engine], keep=asked.keep, prometheus=asked.prometheus)
    except (CheckFailed, PrebleError) as error:
        sys.exit(f"compose-test: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Exit as shells report an end by a signal."""
    del frame
    sys.exit(128 + number)


def test(pool: Pool, *, keep: bool, prometheus: bool) -> None:
    """Build, start, use and remove the stack. Raises: CheckFailed, PrebleError."""
    command, port, prometheus_port = find_compose(), free_port(), free_port()
    with secrets_folder() as secrets:
        environ = {
            **os.environ, pool.port_variable: str(port), "SECRETS": str(secrets),
            "PROMETHEUS_PORT": str(prometheus_port),
        }  # fmt: skip
        compose = Compose(command, f"preble-test-{os.getpid()}", pool, environ)
        say(f"project {compose.project}: {', '.join(pool.services)}")
        compose.build()
        build_s = elapsed_s()
        say("built")
        stack = Stack(compose, pool, f"http://127.0.0.1:{port}", API_KEY)
        try:
            try_stack(stack, f"http://127.0.0.1:{prometheus_port}" if prometheus else None)
        finally:
            if keep:
                say(f"kept: {stack.url}; docker compose -p {compose.project} down -v removes it")
            else:
                compose.take_down()
        say(f"passed: build {build_s:.0f} s, test {elapsed_s() - build_s:.0f} s")


@contextmanager
def secrets_folder() -> Generator[Path]:
    """One that the users of the containers can read."""
    with tempfile.TemporaryDirectory(prefix="preble-secrets-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("api", "hub"):
            (folder / part).mkdir(mode=0o755)
        (folder / "api/api_key").write_text(f"{API_KEY}\n")
        yield folder


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    main()

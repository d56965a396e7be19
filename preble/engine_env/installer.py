"""Runs uv, the installer: what it says becomes our lines, how it fails becomes one line."""

import re
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import uv

from preble.clock import Clock, SystemClock
from preble.engine_env.children import started
from preble.engine_env.errors import EngineEnvError
from preble.engine_env.layout import Say
from preble.engine_env.sources import uv_environ

_LINES_KEPT: Final = 40

_NEWS: Final = (
    (r"Downloading (\S+) \(([\d.]+)(\w+)\)", r"fetching \1 (\2 \3)"),
    (r"Prepared (\d+ packages?) in .*", r"\1 fetched"),
    (r"Installed (\d+ packages?) in .*", r"\1 placed"),
)

_FAILURES: Final[Mapping[str, str]] = {
    r"hash mismatch": (
        "a package differs from its pinned hash: run the command again; if it happens again, "
        "the package index in use has altered it"
    ),
    r"no space left|disk quota": "the disk is full: free some space and run the command again",
    r"permission denied|read-only file system": "a folder cannot be written",
    r"no interpreter found|no python": (
        "Python 3.11 is needed and could not be had: install it and run the command again"
    ),
    r"failed to (fetch|download)|error sending request|dns error|timed out|network|offline": (
        "packages cannot be fetched: check the network, the proxy and PIP_INDEX_URL, and run the "
        "command again; what was fetched is kept"
    ),
    r"has no wheels|no version of|not found in": "the package index in use lacks a pinned package",
}
"""What uv's words mean to a user; the first pattern that is found counts."""


class Uv:
    """uv in one environment of variables.

    Args:
        environ: Usually `os.environ`; pip's variables count as in `sources`.
        say: Gets a line for each step.
        folder: Where uv runs; away from any project, whose settings would count.
    """

    def __init__(
        self, environ: Mapping[str, str], say: Say, folder: Path, *, clock: Clock | None = None
    ) -> None:
        self.environ = uv_environ(environ)
        self._say = say
        self._folder = folder
        self._clock = clock or SystemClock()
        self._start_s = self._clock.now_s()

    def say(self, news: str) -> None:
        """Tell how far the work is, and how long it has taken."""
        self._say(f"engine: {news} ({self._clock.now_s() - self._start_s:.0f} s)")

    def run(self, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        """Run one uv command and await its end.

        Raises:
            EngineEnvError: If it failed; one line that says why and what to do.
        """
        lines: deque[str] = deque(maxlen=_LINES_KEPT)
        status = self._follow([_uv_binary(), *arguments], environ or self.environ, lines)
        if status:
            raise EngineEnvError(explain(lines))

    def _follow(self, command: Sequence[str], environ: Mapping[str, str], lines: deque[str]) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        with started(command, environ, self._folder) as child:
            # uv says everything on stderr.
            for line in child.stderr or ():
                lines.append(line.strip())
                self._tell(lines[-1])
        return child.returncode

    def _tell(self, line: str) -> None:
        for pattern, news in _NEWS:
            match = re.fullmatch(pattern, line)
            if match:
                self.say(match.expand(news))


def explain(lines: Sequence[str]) -> str:
    """What uv's last lines mean to a user: the cause, what to do, and uv's own words."""
    text = "\n".join(lines)
    for pattern, meaning in _FAILURES.items():
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            return f"{meaning} [{_line_of(text, match.start())}]"
    return f"the installer failed: {lines[-1] if lines else 'it said nothing'}"


def _line_of(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    return re.sub(
        r"^\W*(error|caused by|cause):\s*", "", text[start:].split("\n", 1)[0], flags=re.IGNORECASE
    )


def _uv_binary() -> str:
    try:
        return uv.find_uv_bin()
    except FileNotFoundError:
        raise EngineEnvError("the uv installer is missing: install Preble again") from None

"""A reader of the documentation: a running `preble serve`, and a shell for its snippets."""

import base64
import os
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from support import free_port

ROOT = Path(__file__).parents[1]
LONGEST_S = 120
SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()

_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
_LANGUAGES = {"sh", "python"}
_API = re.compile(r"(localhost|127\.0\.0\.1):8000\b")


class Snippet(NamedTuple):
    """A piece of a page that a reader would run."""

    language: str
    code: str
    line: int


class Reader(NamedTuple):
    """Somebody with a running stack.

    Args:
        url: Of its api.
        redis_url: Of its Redis.
        folder: Where files may be left.
    """

    url: str
    redis_url: str
    folder: Path

    def runs(self, *command: str, **more: str) -> str:
        """Run a command. Returns what it printed; fails with all that it said."""
        environ = self._environ() | more
        done = subprocess.run(
            command, cwd=self.folder, env=environ, capture_output=True, text=True,
            timeout=LONGEST_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout[-2_000:]}\n{done.stderr[-4_000:]}"
        return done.stdout

    def reads(self, page: Path) -> str:
        """Run all snippets of a page in one shell, in their order."""
        script = "\n".join(["set -euo pipefail", *map(_as_shell, snippets(page))])
        # A refusal fails a snippet, as it would stop a reader.
        (self.folder / ".curlrc").write_text("fail-with-body\nshow-error\n")
        script = _API.sub(self.url.removeprefix("http://"), script)
        return self.runs("bash", "-c", script, CURL_HOME=str(self.folder))

    def _environ(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in os.environ if not name.startswith("PREBLE_")}
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return kept | {
            "PATH": programs, "PREBLE_URL": self.url, "PREBLE_REDIS_URL": self.redis_url,
            "PREBLE_WEBHOOK_SECRET": SECRET,
        }  # fmt: skip


def snippets(page: Path) -> list[Snippet]:
    """What a page says to be run: shell and Python, but for fences that say `not run`."""
    text = page.read_text()
    found: list[Snippet] = []
    for match in _FENCE.finditer(text):
        language, _, words = match["info"].partition(" ")
        if language in _LANGUAGES and not words.startswith("not run"):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Snippet(language, match["code"], line))
    return found


@contextmanager
def serving(folder: Path, **settings: str) -> Generator[Reader]:
    """A reader whose `preble serve` runs for the length of a block."""
    own = {f"PREBLE_{name.upper()}": value for name, value in settings.items()}
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("PREBLE_")}
    log = folder / "serve.log"
    with log.open("w") as lines:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "preble", "serve", "--engine", "emulated",
                "--port", str(free_port()), "--data-dir", str(folder / "data"),
            ],
            env=kept | own, stdout=subprocess.PIPE, stderr=lines, text=True,
        )  # fmt: skip
    try:
        said = _first_lines(process)
        assert said.keys() >= {"api", "redis"}, log.read_text()
        yield Reader(said["api"], said["redis"], folder)
    finally:
        process.kill()
        process.communicate()


def _first_lines(process: subprocess.Popen[str]) -> dict[str, str]:
    """What `preble serve` prints when all is ready: names and URLs."""
    assert process.stdout is not None
    said: dict[str, str] = {}
    for line in process.stdout:
        name, _, value = line.partition(" ")
        said[name] = value.strip()
        if name == "workers":
            break
    return said


def _as_shell(snippet: Snippet) -> str:
    """A snippet within one shell script; says where it stands, should it fail."""
    place = f"echo '--- line {snippet.line}' >&2\n"
    if snippet.language == "sh":
        return place + snippet.code
    return f"{place}python -W error - <<'END_OF_SNIPPET'\n{snippet.code}END_OF_SNIPPET"

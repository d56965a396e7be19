"""`preble batch` against an api played by a class: what its tests share."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
from fake_api import FakeApi

from preble.cli import run

Rows = list[dict[str, Any]]


class Desk:
    """A folder with an input, and an api to run it.

    Args:
        folder: Where the files are.
        use: Makes the commands reach an api.
    """

    def __init__(
        self, folder: Path, use: Callable[[Callable[[httpx2.Request], httpx2.Response]], None]
    ) -> None:
        self.folder = folder
        self.out = folder / "out.jsonl"
        self._use = use

    def write(self, lines: Sequence[object], name: str = "in.jsonl") -> Path:
        """An input of JSON lines."""
        path = self.folder / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    def numbered(self, count: int) -> Path:
        """An input of so many prompts, whose ids are numbers."""
        return self.write([{"id": f"r{n}", "prompt": f"prompt {n}"} for n in range(count)])

    def run(self, api: FakeApi, source: str | Path, out: str | Path, *flags: str) -> int:
        """`preble batch run`. Returns: its exit status."""
        self._use(api)
        return run(["batch", "run", str(source), str(out), "--url", "http://api.test", *flags])

    def detached(self, api: Callable[[httpx2.Request], httpx2.Response], *arguments: str) -> int:
        """Another command of `preble batch`. Returns: its exit status."""
        self._use(api)
        return run(["batch", *arguments, "--url", "http://api.test"])


def rows_of(path: Path) -> Rows:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids_of(path: Path) -> list[str]:
    """The ids of its lines."""
    return [row["id"] for row in rows_of(path)]

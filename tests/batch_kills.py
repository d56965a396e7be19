"""`preble batch run`, killed with -9 again and again: the same ids, none lost, none twice.

    python tests/batch_kills.py PROMPTS.json… --kills 3 -- --engine sglang --workers 1

Each file is a JSON object of prompts by name, or of tools and a question by name.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from support import eventually


def lines_of(file: Path, *, max_new_tokens: int) -> Iterator[dict[str, Any]]:
    """The prompts of a file, as lines of a batch."""
    for name, told in json.loads(file.read_text()).items():
        prompt = told if isinstance(told, str) else json.dumps(told["available_tools"])
        question = "" if isinstance(told, str) else f"\n\nQuestion: {told['query']}\nAnswer:"
        sampling = {"max_new_tokens": max_new_tokens, "temperature": 0}
        yield {
            "id": f"{file.stem}/{name}", "prompt": prompt + question, "sampling_params": sampling,
        }  # fmt: skip


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; the last may be torn."""
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    return [json.loads(line) for line in whole.splitlines()]


def run_killed(
    source: Path, out: Path, flags: Sequence[str], *, kills: int, seed: int, within_s: float
) -> list[int]:
    """Run a batch to its end, killing it at random, each time once it has got on a little.

    Args:
        source: The input.
        out: The output.
        flags: Of `preble batch run`.
        kills: How often.
        seed: Of chance.
        within_s: For each run.

    Returns:
        How many lines stood in the output after each kill.
    """
    chance = random.Random(seed)  # noqa: S311 - a test's dice
    total = len(source.read_text().splitlines())
    stood: list[int] = []
    for number in range(kills):
        before = len(read_lines(out))
        least = before + 1 + chance.randrange(max(1, (total - before) // (kills + 1 - number)))
        process = _start(source, out, flags)
        eventually(partial(_got_on, out, least, process), within_s=within_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        stood.append(len(read_lines(out)))
        print(f"killed with {stood[-1]} of {total} lines done", flush=True)  # noqa: T201
    last = _start(source, out, flags)
    if last.wait(within_s) != 0:
        raise AssertionError(f"the last run ended with {last.returncode}")
    return stood


def check(source: Path, out: Path) -> None:
    """Raises: AssertionError, unless each line was answered once."""
    asked = [line["id"] for line in read_lines(source)]
    answered = [line["id"] for line in read_lines(out)]
    assert out.read_bytes().endswith(b"\n")
    assert len(answered) == len(set(answered)), "an id came twice"
    assert set(answered) == set(asked), "ids were lost"
    assert all(line["completion_tokens"] for line in read_lines(out)), "an answer has no tokens"


def _start(source: Path, out: Path, flags: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "preble", "batch", "run", str(source), str(out), *flags]
    return subprocess.Popen(command, env=os.environ)


def _got_on(out: Path, least: int, process: subprocess.Popen[bytes]) -> bool:
    """Raises: AssertionError, if it no longer can."""
    if process.poll() is not None:
        raise AssertionError(f"it ended before its time, with {process.returncode}")
    return len(read_lines(out)) >= least


def main() -> None:
    """Do it with the files that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-new-tokens", type=int, default=8)
    parser.add_argument("--within", type=float, default=3_600.0, help="seconds for each run")
    own, flags = _split(sys.argv[1:])
    asked = parser.parse_args(own)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
        lines = [
            line
            for file in asked.files
            for line in lines_of(file, max_new_tokens=asked.max_new_tokens)
        ]
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        run_killed(source, out, flags, kills=asked.kills, seed=asked.seed, within_s=asked.within)
        check(source, out)
        print(f"{len(lines)} lines answered once each")  # noqa: T201


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


if __name__ == "__main__":
    main()

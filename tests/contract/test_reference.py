"""The examples of docs/reference/openai.md, run in their order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import Stack

pytestmark = pytest.mark.process

PAGE = Path(__file__).parents[2] / "docs/reference/openai.md"
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
SETUP, *SHELL = [block for kind, block in BLOCKS if kind == "sh"]
PYTHON = [block for kind, block in BLOCKS if kind == "python"]


def run(pool: Stack, *command: str) -> str:
    environ = {**os.environ, "OPENAI_BASE_URL": f"{pool.url}/v1", "OPENAI_API_KEY": "any"}
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize("number", range(len(SHELL)))
def test_shell(pool: Stack, number: int) -> None:
    setup = SETUP.replace("http://localhost:8000", pool.url)
    answer = run(pool, "bash", "-euc", setup + SHELL[number])
    assert '"usage":{' in answer


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python(pool: Stack, number: int) -> None:
    assert run(pool, sys.executable, "-W", "error", "-c", PYTHON[number])

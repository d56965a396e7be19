"""A policy of one's own decides in a whole stack, named by its import path alone."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from preble.config import Settings
from preble.serve.private import StackNotStarted, private_stack

pytestmark = pytest.mark.process

RULES = """
from preble.policy.choice import Choice, Rule


def last():
    return Rule("mine", lambda options: Choice(len(options) - 1, "the last one"))
"""
WITHIN_S = 60.0


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module whose folder is in PYTHONPATH, as the guide asks for."""
    (tmp_path / "rules_of_mine.py").write_text(RULES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return "rules_of_mine"


@pytest.fixture
def settings() -> Callable[[str], Settings]:
    return lambda policy: Settings(engine="emulated", workers=2, policy=policy, emulated_speed=100)


def test_preble_serve_places_by_it(rules: str, settings: Callable[[str], Settings]) -> None:
    with private_stack(settings(f"{rules}:last")) as stack:
        body = {"prompt": "hello", "sampling_params": {"max_new_tokens": 2}}
        headers = {"prefer": f"wait={WITHIN_S:.0f}"}
        reply = httpx2.post(f"{stack.url}/v1/jobs", json=body, headers=headers, timeout=WITHIN_S)
        job = httpx2.get(f"{stack.url}/v1/jobs/{reply.json()['id']}", timeout=WITHIN_S).json()
    assert job["status"] == "completed"
    assert job["instance"] == "gpu1"
    assert (job["assignment"]["policy"], job["assignment"]["reason"]) == ("mine", "the last one")


def test_preble_serve_says_what_is_wrong_with_it(
    rules: str, settings: Callable[[str], Settings]
) -> None:
    with (
        pytest.raises(StackNotStarted, match="rules_of_mine has no first"),
        private_stack(settings(f"{rules}:first")),
    ):
        pass

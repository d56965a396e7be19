"""Keys of two tenants on a real stack: what one asked does not make the other's answer quicker."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from processes import Stack, stack
from support import eventually

from preble.cli import run

pytestmark = pytest.mark.process

PROMPT = [(position * 13) % 14_000 for position in range(1_024)]
PAGE_TOKENS = 16


class Tenant:
    """A client with a key that `preble keys create` made."""

    def __init__(self, running: Stack, capsys: pytest.CaptureFixture[str], *flags: str) -> None:
        assert run(["keys", "create", "--name", "t", "--redis-url", running.redis_url, *flags]) == 0
        self._url = running.url
        self._headers = {"authorization": f"Bearer {capsys.readouterr().out.strip()}"}

    def cached_tokens(self, **fields: str) -> int:
        """Of the prompt, once it was answered."""
        body = {"input_ids": PROMPT, "sampling_params": {"max_new_tokens": 4}, **fields}
        reply = httpx2.post(f"{self._url}/v1/jobs", json=body, headers=self._headers)
        assert reply.status_code == 202, reply.text
        url = self._url + reply.headers["location"]

        def job() -> Any:  # noqa: ANN401  JSON
            return httpx2.get(url, headers=self._headers).json()

        eventually(lambda: job()["status"] == "completed")
        result = job()["result"]
        predicted = result["prediction"]["resident_tokens"]
        cached = int(result["usage"]["cached_tokens"])
        assert predicted == cached  # the scheduler and the worker separate as the engine does
        return cached


def test_probing_anothers_prompt_finds_nothing_cached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = len(PROMPT) - PAGE_TOKENS  # the last page is computed, to have something to begin with
    with stack(tmp_path, instances=1, emulated_speed="100") as running:
        a, b = Tenant(running, capsys, "--tenant", "a"), Tenant(running, capsys, "--tenant", "b")
        operator = Tenant(running, capsys, "--scope", "admin")
        assert a.cached_tokens() == 0
        assert b.cached_tokens() == 0
        assert operator.cached_tokens() == operator.cached_tokens(cache_salt="x") == 0
        assert operator.cached_tokens(tenant="a") >= whole  # of its own, not of tenant a
        assert a.cached_tokens() >= whole
        assert a.cached_tokens(cache_salt="x") == 0
        assert a.cached_tokens(cache_salt="x") >= whole
        assert b.cached_tokens() >= whole

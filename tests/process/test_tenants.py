"""Tenants and priorities through the whole way of a job, on real processes and a real Valkey."""

from pathlib import Path

import pytest
from processes import stack
from support import eventually

pytestmark = pytest.mark.process

FLOOD = 1_000


def jobs(number: int, first: int, **fields: str) -> list[dict[str, object]]:
    """Prompts of 256 tokens that share nothing."""
    return [
        {
            "input_ids": [(index * 7 + position * 13) % 14_000 for position in range(256)],
            "sampling_params": {"max_new_tokens": 16},
            **fields,
        }
        for index in range(first, first + number)
    ]


@pytest.mark.parametrize("priority", ["normal", "batch"])
def test_who_asks_for_little_does_not_wait_for_who_floods(tmp_path: Path, priority: str) -> None:
    with stack(tmp_path, emulated_speed="10", slots="16") as running:
        flood = running.submit(jobs(FLOOD, 0, tenant="flood", priority=priority))
        chat = running.submit(jobs(10, FLOOD, tenant="chat"))
        eventually(lambda: all(running.job(each)["status"] == "completed" for each in chat))
        before = running.completed()
        assert before - len(chat) < FLOOD / 2
        shown = running.job(flood[0])
        assert (shown["tenant"], shown["priority"]) == ("flood", priority)
        eventually(lambda: running.completed() == FLOOD + len(chat), within_s=90)

"""Why tokens came from the KV cache or not, as a response tells it."""

import pytest
from msgspec.structs import replace
from support import assignment, completed, submission

from preble.messages import ExecutionId, JobId, Lease
from preble_api.openai.cache_diagnostics import diagnostics_of

JOB = submission("j")
RESULT = completed(Lease(JobId("j"), ExecutionId("e"))).result


@pytest.mark.parametrize(
    ("available", "predicted", "delivered", "kind", "reason"),
    [
        (0, 0, 0, "cache_miss", "input_changed"),
        (64, 64, 64, "cache_hit", None),
        (64, 64, 80, "cache_hit", None),  # pages are finer than blocks
        (0, 0, 48, "cache_hit", None),
        (999, 999, 992, "cache_hit", None),  # all of it but the page of the last token
        (64, 0, 0, "cache_miss", "placed_elsewhere"),
        (64, 64, 0, "cache_miss", "evicted"),
        (128, 128, 64, "cache_miss", "evicted"),
    ],
)
def test_reason(
    available: int, predicted: int, delivered: int, kind: str, reason: str | None
) -> None:
    assert RESULT
    result = replace(RESULT, prompt_tokens=1_000, cached_tokens=delivered)
    placed = replace(
        assignment(JOB), available_hit_tokens=available, resident_hit_tokens=predicted,
        expected_hit_tokens=0,
    )  # fmt: skip
    told = diagnostics_of(placed, result)
    assert (told.type, told.reason) == (kind, reason)
    assert (told.available_tokens, told.delivered_tokens) == (available, delivered)
    if kind == "cache_miss":
        assert told.cache_missed_tokens == 1_000 - delivered


def test_without_a_decision_nothing_is_known() -> None:
    assert RESULT
    assert diagnostics_of(None, RESULT).type == "unavailable"

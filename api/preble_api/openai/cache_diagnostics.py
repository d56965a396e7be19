"""Why tokens of a prompt came from the KV cache or not, told in OpenAI's words as far as they go.

`preble.explanation` finds out; it also says what available, predicted and delivered mean.
"""

from typing import Final

import msgspec

from preble.explanation import Reuse, reuse_of
from preble.messages import Assignment, JobResult
from preble_api.openai.response_schemas import CacheDiagnostics, MissReason

_REASONS: Final[dict[Reuse, MissReason]] = {
    "no_reuse": "input_changed",
    "placed_elsewhere": "placed_elsewhere",
    "evicted": "evicted",
}


def diagnostics_of(assignment: Assignment | None, result: JobResult) -> CacheDiagnostics:
    """What became of the tokens that could have been reused."""
    if assignment is None:
        return CacheDiagnostics("unavailable")
    delivered, available = result.cached_tokens, assignment.available_hit_tokens
    hit = CacheDiagnostics(
        "cache_hit",
        available_tokens=available,
        predicted_tokens=assignment.predicted_hit_tokens,
        delivered_tokens=delivered,
    )
    reason = _REASONS.get(reuse_of(assignment, result))
    if reason is None:
        return hit
    return msgspec.structs.replace(
        hit,
        type="cache_miss",
        reason=reason,
        cache_missed_tokens=result.prompt_tokens - delivered,
        comparison_reusable_tokens=max(available, delivered),
    )

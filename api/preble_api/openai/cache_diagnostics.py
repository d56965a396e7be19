"""Why tokens of a prompt came from the KV cache or not, told in OpenAI's words as far as they go.

available   on the instance that held most of the prompt, when the job was placed
predicted   on the instance that was chosen
delivered   by the engine
"""

from typing import Final

import msgspec

from preble.messages import Assignment, JobResult
from preble_api.openai.response_schemas import CacheDiagnostics, MissReason

_MOST_PAGE_TOKENS: Final = 64


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
    if delivered and delivered >= available - _unreusable(result, available):
        return hit
    return msgspec.structs.replace(
        hit,
        type="cache_miss",
        reason=_reason(assignment, delivered),
        cache_missed_tokens=result.prompt_tokens - delivered,
        comparison_reusable_tokens=max(available, delivered),
    )


def _unreusable(result: JobResult, available: int) -> int:
    """Tokens that are held and yet computed again: of a whole prompt, its last page."""
    return _MOST_PAGE_TOKENS if available >= result.prompt_tokens - 1 else 0


def _reason(assignment: Assignment, delivered: int) -> MissReason:
    """Nothing to reuse, or held on another instance, or lost from the chosen one meanwhile."""
    if delivered >= assignment.available_hit_tokens:
        return "input_changed"
    is_elsewhere = assignment.predicted_hit_tokens < assignment.available_hit_tokens
    return "placed_elsewhere" if is_elsewhere else "evicted"

"""Why a job went where it went, and what became of the tokens that could have been reused.

    available   on the instance that held most of the prompt, when the job was placed
    predicted   on the instance that was chosen: resident, and expected of jobs before it
    at start    by the worker, as the job began
    delivered   by the engine, from its KV cache

Made from the job and its decision record alone: pure, and no second copy of anything.
"""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from preble.fair_share import SHARES
from preble.messages import (
    QUARANTINE_AFTER,
    Assignment,
    Candidate,
    InstanceId,
    JobId,
    JobResult,
    JobState,
    JobView,
)

Reuse: TypeAlias = Literal["hit", "no_reuse", "evicted", "placed_elsewhere"]
"""What became of the tokens that could have been reused, of a job that completed."""

Verdict: TypeAlias = Reuse | Literal["waiting", "placed", "not_placed", "no_result"]
"""Besides, how far a job has come: it waits; is placed and goes on; ended before; ended so."""

_MOST_PAGE_TOKENS: Final = 64


class Wait(msgspec.Struct, frozen=True):
    """What a job that is not placed waits for."""

    position: Annotated[
        int | None, Meta(description="Jobs ahead in the same queue; null if uncounted.")
    ]
    share: Annotated[
        float,
        Meta(description="Of the work that its priority gets while jobs of all priorities wait."),
    ]
    runs_alone: Annotated[
        bool, Meta(description="Its workers died twice: it needs an instance to itself.")
    ]
    instances: Annotated[int | None, Meta(description="Registered; null if not known.")]


class HitTokens(msgspec.Struct, frozen=True):
    """Tokens of the prompt that need not be computed, as each of the three saw it."""

    available: int
    predicted: int
    resident: Annotated[int, Meta(description="Of the predicted, held for certain.")]
    expected: Annotated[int, Meta(description="Of the predicted, to be computed by other jobs.")]
    at_start: Annotated[int | None, Meta(description="Predicted by the worker as it began.")] = None
    delivered: Annotated[int | None, Meta(description="By the engine.")] = None


class Explanation(msgspec.Struct, frozen=True):
    """A job's decision record, and what came of it."""

    id: JobId
    status: JobState
    verdict: Verdict
    summary: Annotated[str, Meta(description="The verdict in words.")]
    attempt: int
    prompt_tokens: int
    waiting: Wait | None = None
    instance: Annotated[InstanceId | None, Meta(description="The winner.")] = None
    policy: str | None = None
    reason: Annotated[str | None, Meta(description="The policy's word for its choice.")] = None
    hit_tokens: HitTokens | None = None
    candidates: Annotated[
        tuple[Candidate, ...], Meta(description="What was weighed: 16 instances at most.")
    ] = ()
    object: Literal["job.explanation"] = "job.explanation"


def explain(view: JobView, *, instances: int | None = None) -> Explanation:
    """What is known of a job's placement.

    Args:
        view: The job as it stands.
        instances: Registered now, which matters to a job that waits; None if not known.

    Cost: O(instances in its decision record).
    """
    wait = _wait(view, instances) if view.state is JobState.WAITING else None
    made = None if wait else view.assignment
    verdict = _verdict(view, made)
    known = Explanation(
        view.job_id, view.state, verdict, _summary(view, verdict, wait),
        view.attempt, view.spec.prompt_tokens, wait,
    )  # fmt: skip
    if made is None:
        return known
    return msgspec.structs.replace(
        known, instance=made.instance_id, policy=made.policy, reason=made.reason,
        hit_tokens=_hit_tokens(made, view.result), candidates=made.candidates,
    )  # fmt: skip


def reuse_of(made: Assignment, result: JobResult) -> Reuse:
    """What became of the tokens that could have been reused."""
    delivered, available = result.cached_tokens, made.available_hit_tokens
    if delivered and delivered >= available - _unreusable(result, available):
        return "hit"
    if delivered >= available:
        return "no_reuse"
    return "placed_elsewhere" if made.predicted_hit_tokens < available else "evicted"


def _unreusable(result: JobResult, available: int) -> int:
    """Tokens that are held and yet computed again: of a whole prompt, its last page."""
    return _MOST_PAGE_TOKENS if available >= result.prompt_tokens - 1 else 0


def _verdict(view: JobView, made: Assignment | None) -> Verdict:
    if view.state is JobState.WAITING:
        return "waiting"
    if made is None:
        return "not_placed"
    if not view.state.is_terminal:
        return "placed"
    return "no_result" if view.result is None else reuse_of(made, view.result)


def _wait(view: JobView, instances: int | None) -> Wait:
    share = SHARES[view.spec.priority] / sum(SHARES.values())
    return Wait(view.position, share, view.attempt >= QUARANTINE_AFTER, instances)


def _hit_tokens(made: Assignment, result: JobResult | None) -> HitTokens:
    return HitTokens(
        made.available_hit_tokens, made.predicted_hit_tokens,
        made.resident_hit_tokens, made.expected_hit_tokens,
        at_start=result.prediction.hit_tokens if result else None,
        delivered=result.cached_tokens if result else None,
    )  # fmt: skip


def _summary(view: JobView, verdict: Verdict, wait: Wait | None) -> str:
    if wait is not None:
        return _of_a_wait(view, wait)
    made, result = view.assignment, view.result
    if made is None:
        return f"{view.state} before it was placed"
    if result is None:
        return _of_a_placement(view, made)
    return _of_a_result(made, result, verdict)


def _of_a_result(made: Assignment, result: JobResult, verdict: Verdict) -> str:
    delivered = f"{result.cached_tokens} of {result.prompt_tokens} prompt tokens were reused"
    if verdict == "hit":
        return delivered
    if verdict == "no_reuse":
        return "no instance held the beginning of this prompt"
    if verdict == "placed_elsewhere":
        return f"{delivered}: {_elsewhere(made)}"
    return f"{delivered}: {_evicted(made, result)}"


def _of_a_wait(view: JobView, wait: Wait) -> str:
    if wait.instances == 0:
        return "no instance is registered: start a worker"
    if wait.runs_alone:
        return "its workers died twice, so it waits for an instance to itself"
    ahead = "more jobs than are counted" if wait.position is None else f"{wait.position} jobs"
    queue = f"priority {view.spec.priority}, tenant {view.spec.tenant}"
    return f"{ahead} ahead in its queue ({queue}), then for an instance that has use for it"


def _of_a_placement(view: JobView, made: Assignment) -> str:
    hits = f"{made.predicted_hit_tokens} hit tokens predicted there"
    return f"{view.state} on {made.instance_id}, {hits}, {made.available_hit_tokens} at the best"


def _elsewhere(made: Assignment) -> str:
    by_id = {each.instance_id: each for each in made.candidates}
    chosen = by_id.get(made.instance_id)
    best = max(by_id.values(), key=lambda each: each.hit_tokens, default=None)
    if chosen is None or best is None or best.hit_tokens <= chosen.hit_tokens:
        return f"placed elsewhere ({made.reason}), while {made.available_hit_tokens} were held"
    held = f"{best.instance_id} held {best.hit_tokens}"
    return f"placed elsewhere ({made.reason}), for {held} {_weighed(best, chosen)}"


def _weighed(best: Candidate, chosen: Candidate) -> str:
    theirs, ours = best.load_s + best.prefill_s, chosen.load_s + chosen.prefill_s
    if best.cost is not None and chosen.cost is not None:
        return f"at a cost of {best.cost:.4g}, against {chosen.cost:.4g} on {chosen.instance_id}"
    return f"with {theirs:.4g} s of load and prefill, against {ours:.4g} on {chosen.instance_id}"


def _evicted(made: Assignment, result: JobResult) -> str:
    """Whether the loss came before or after the worker looked; pages are finer than blocks."""
    predicted, at_start = made.predicted_hit_tokens, result.prediction.hit_tokens
    if at_start <= predicted - _MOST_PAGE_TOKENS:
        return f"{made.instance_id} had {at_start} left of {predicted} when the job began"
    return f"{made.instance_id} lost the rest of {predicted} as the job was run"

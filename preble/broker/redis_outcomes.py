"""How executions ended, as DONE takes it and as RQ keeps it."""

from collections.abc import Sequence

import msgspec

from preble.broker.ended import failure_text, result_text
from preble.broker.redis_client import Argument
from preble.errors import InvariantError
from preble.messages import JobFailure, JobState, Outcome


def done_arguments(outcome: Outcome) -> Sequence[Argument]:
    """DONE's arguments for one outcome.

    Raises:
        InvariantError: If it is neither a result nor a failure.
    """
    lease = outcome.lease
    if result := outcome.result:
        return (
            lease.job_id, lease.execution_id, JobState.COMPLETED, result_text(result), b"",
            result.prompt_tokens, result.completion_tokens,
            result.prediction.hit_tokens, result.cached_tokens, result.decode_s,
        )  # fmt: skip
    if failure := outcome.failure:
        return (
            lease.job_id, lease.execution_id, JobState.FAILED, failure_text(failure),
            msgspec.json.encode(failure), 0, 0, 0, 0, 0,
        )  # fmt: skip
    msg = f"outcome of {lease.job_id} is neither a result nor a failure"
    raise InvariantError(msg)


def failure_arguments(failure: JobFailure) -> tuple[Argument, Argument]:
    """How jobs end by a script's own doing, as it takes it: for us, and as RQ's result text."""
    return msgspec.json.encode(failure), failure_text(failure)

"""How many logprobs may be asked for, on whichever surface, and how many there are.

Each is a token and its logprob: one for each token of the output, and one for each of the likeliest
beside it. They stay in Redis as long as the result, and an answer holds them all at once.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from preble.errors import InvalidJob
from preble.messages import JobResult, JobSpec, SamplingParams, Submission, TokenLogprob
from preble_api.transcript import Piece

MOST_JOB_LOGPROBS: Final = 65_536
"""Of one job: about a megabyte in Redis, and five as an answer of OpenAI's."""

MOST_ANSWER_LOGPROBS: Final = 4 * MOST_JOB_LOGPROBS
"""Of all jobs that are answered together."""

FIELD: Final = "sampling_params.logprobs"
"""As which the queue knows what asks for them."""


def require_few(sampling: SamplingParams, place: str = "") -> None:
    """Refuse a job that asks for too many.

    Args:
        sampling: With the longest output that the job may have.
        place: Of the job in its list, such as `jobs[3].`.

    Raises:
        InvalidJob: Saying what to lower.
    """
    number = _most_of(sampling)
    if number > MOST_JOB_LOGPROBS:
        msg = (
            f"{sampling.max_new_tokens} tokens of output, each with its own logprob and "
            f"{sampling.logprobs} more, make {number} logprobs, more than {MOST_JOB_LOGPROBS}; "
            "ask for fewer, or for a shorter output"
        )
        raise InvalidJob(place + FIELD, msg)


def require_few_together(submissions: Sequence[Submission]) -> None:
    """Refuse jobs that are answered together and ask for too many. Raises: InvalidJob."""
    number = sum(_most_of(each.spec.sampling) for each in submissions)
    if number > MOST_ANSWER_LOGPROBS:
        msg = (
            f"the {len(submissions)} prompts may make {number} logprobs, more than "
            f"{MOST_ANSWER_LOGPROBS}; send them as several requests"
        )
        raise InvalidJob(FIELD, msg)


def tells_logprobs(spec: JobSpec) -> bool:
    """Whether a job was asked for them."""
    return spec.sampling.logprobs is not None


def number_of(logprobs: Sequence[TokenLogprob]) -> int:
    """How many there are, of the tokens themselves and beside them."""
    return sum(1 + len(each.top) for each in logprobs)


def each_token(told: JobResult | Piece) -> Iterator[tuple[int, TokenLogprob]]:
    """The tokens of an output with their logprobs; none where an older worker told none."""
    return zip(told.output_ids, told.logprobs, strict=False)


def _most_of(sampling: SamplingParams) -> int:
    if sampling.logprobs is None:
        return 0
    return sampling.max_new_tokens * (1 + sampling.logprobs)

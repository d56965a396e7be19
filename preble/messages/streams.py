"""What an execution makes, on its way to those who follow the job."""

import msgspec

from preble.messages.jobs import JobId
from preble.messages.runs import ExecutionId, TokenLogprob


class TokenDelta(msgspec.Struct, frozen=True, array_like=True):
    """Consecutive output tokens of one execution, and the text that they settle.

    The text may lag behind the tokens: of a character whose last byte is to come, and of what
    could be the beginning of a stop string, nothing is said yet.
    """

    job_id: JobId
    execution_id: ExecutionId
    token_at: int
    """Output tokens before these."""
    char_at: int
    """Characters of the output before this text."""
    output_ids: tuple[int, ...]
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of each of these tokens, if they were asked for."""

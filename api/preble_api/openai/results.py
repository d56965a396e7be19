"""Usage and ids as OpenAI's clients know them."""

from typing import Final

import msgspec

from preble.messages import JobResult

JOB_PREFIX: Final = "job_"


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """Of the prompt's tokens, those that came from the KV cache."""

    cached_tokens: int


class CompletionUsage(msgspec.Struct, frozen=True):
    """Tokens of an answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None


def usage_of(*results: JobResult) -> CompletionUsage:
    """Tokens of all choices together."""
    prompt = sum(each.prompt_tokens for each in results)
    completion = sum(each.completion_tokens for each in results)
    cached = PromptTokensDetails(sum(each.cached_tokens for each in results))
    return CompletionUsage(prompt, completion, prompt + completion, cached)


def id_of(prefix: str, job_id: str) -> str:
    """The id of an answer: the job's, under the prefix that clients know."""
    return prefix + job_id.removeprefix(JOB_PREFIX)

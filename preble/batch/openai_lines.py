"""OpenAI's batch lines: what they ask for as a job of ours, and its result in their form. Pure."""

from collections.abc import Mapping
from typing import Final

import msgspec

from preble.client import Job, Result

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"

COMPLETION_TOKENS: Final = 16
"""Of a completion whose line sets no limit, as OpenAI has it."""

_LINE: Final = frozenset({"custom_id", "method", "url", "body"})
_SAMPLED: Final = frozenset({
    "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty",
    "repetition_penalty", "stop", "ignore_eos", "seed",
})  # fmt: skip
_LIMITS: Final = ("max_completion_tokens", "max_tokens")
_OF_THE_JOB: Final = frozenset(
    {"model", "priority", "tenant", "cache_salt", "deadline_s", "webhook"}
)
_WITHOUT_EFFECT: Final = frozenset({
    "user", "metadata", "store", "safety_identifier", "prompt_cache_key", "parallel_tool_calls",
    "stream_options",
})  # fmt: skip
_NEUTRAL: Final[tuple[object, ...]] = (None, False, "", [], {})
"""Values that ask for nothing, of fields that are not offered; clients send some."""

_NO_LOGPROBS: Final = (
    "logprobs of OpenAI's lines have the texts of tokens, which only a server's own batches can "
    "tell: use `preble batch submit`, or a row of ours with `sampling_params.logprobs`"
)

_NEUTRAL_OF: Final[dict[str, tuple[object, ...]]] = {
    "n": (1,), "best_of": (1,), "tool_choice": ("none", "auto"),
    "service_tier": ("auto", "default"), "response_format": ({"type": "text"},),
}  # fmt: skip

_LOGPROBS: Final = frozenset({"logprobs", "top_logprobs"})
_TAKEN: Final = frozenset({"prompt", "messages", *_LIMITS}) | _SAMPLED | _OF_THE_JOB | _LOGPROBS


def is_openai_line(fields: dict[str, object]) -> bool:
    """Whether a row is such a line."""
    return fields.keys() >= {"custom_id", "url", "body"} and fields.keys() <= _LINE


def job_of(fields: dict[str, object]) -> dict[str, object]:
    """The job that a line asks for, its prompt first.

    Raises:
        ValueError: If it asks for what is not offered, naming the field.
    """
    url, body = fields["url"], fields["body"]
    if url not in {CHAT, COMPLETIONS}:
        raise ValueError(f"url: must be {CHAT} or {COMPLETIONS}, not {url!r}")
    asked = msgspec.convert(body, dict[str, object])
    prompt = "messages" if url == CHAT else "prompt"
    _require_offered(asked, prompt)
    is_ids = prompt == "prompt" and _is_ids(asked[prompt])
    job = {"input_ids" if is_ids else prompt: asked[prompt]}
    told = {name: value for name, value in asked.items() if value is not None}
    job |= {name: told[name] for name in sorted(_OF_THE_JOB & told.keys())}
    return job | {"sampling_params": _sampling(told, is_chat=url == CHAT)}


def require_no_logprobs(sampling: Mapping[str, object]) -> None:
    """Refuse a line that asks for what only a server's own batches tell. Raises: ValueError."""
    if "logprobs" in sampling:
        raise ValueError(_NO_LOGPROBS)


def _require_offered(asked: dict[str, object], prompt: str) -> None:
    if prompt not in asked:
        raise ValueError(f"body.{prompt}: is required")
    other = {"prompt", "messages"} - {prompt}
    for name, value in asked.items():
        is_known = name in _TAKEN - other or name in _WITHOUT_EFFECT
        if not is_known and value not in (*_NEUTRAL, *_NEUTRAL_OF.get(name, ())):
            raise ValueError(f"body.{name}: is not offered here; leave it out")


def _sampling(told: dict[str, object], *, is_chat: bool) -> dict[str, object]:
    sampling = {name: told[name] for name in sorted(_SAMPLED & told.keys())}
    limit = next((told[name] for name in _LIMITS if name in told), None)
    if limit is None and not is_chat:
        limit = COMPLETION_TOKENS
    if limit is not None:
        sampling = {"max_new_tokens": limit, **sampling}
    logprobs = _logprobs(told) if is_chat else told.get("logprobs")
    is_told = logprobs is not None and logprobs is not False
    return {**sampling, "logprobs": logprobs} if is_told else sampling


def _logprobs(told: dict[str, object]) -> object:
    """Of a chat, as jobs count them. Raises: ValueError if they are both wanted and not."""
    if told.get("logprobs"):
        return told.get("top_logprobs") or 0
    if told.get("top_logprobs"):
        raise ValueError("body.top_logprobs: goes with `logprobs: true`")
    return None


def _is_ids(value: object) -> bool:
    """Whether a prompt is token ids. Raises: ValueError if it is several prompts."""
    if not isinstance(value, list):
        return False
    items = msgspec.convert(value, list[object])
    if len(items) == 1 and isinstance(items[0], str):
        raise ValueError("body.prompt: must be one text or token ids, not a list of texts")
    if not all(type(item) is int for item in items):
        raise ValueError("body.prompt: must be one text or token ids; give each a line of its own")
    return bool(items)


def reply(url: str, model: str, job: Job, result: Result) -> dict[str, object]:
    """The body with which a line's own route would have answered."""
    usage = result.usage
    choice: dict[str, object] = {
        "index": 0,
        "logprobs": None,
        "finish_reason": result.finish_reason,
    }
    if url == CHAT:
        prefix, kind = "chatcmpl-", "chat.completion"
        choice["message"] = {"role": "assistant", "content": result.text, "refusal": None}
    else:
        prefix, kind = "cmpl-", "text_completion"
        choice["text"] = result.text
    return {
        "id": prefix + job.id.removeprefix("job_"),
        "object": kind,
        "created": int(job.created_at),
        "model": model,
        "choices": [choice],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        },
    }

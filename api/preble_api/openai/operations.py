"""What the descriptions of OpenAI's routes have in common."""

from typing import Any, Final

import msgspec

from preble_api.openai.sse import MEDIA_TYPE
from preble_api.openapi import (
    Responses,
    body_of,
    cancel_after_parameter,
    idempotency_key_parameter,
    prefer_parameter,
    problems,
    queue_parameters,
)

COMPLETES: Final = (
    "Each prompt becomes a job of the queue, which goes on if the client leaves, and is found at "
    "`/v1/jobs` under its id in the header `x-preble-job`. A field that is not offered is refused "
    "unless it has the value that it has when left out; one that is unknown is refused."
)

PROBLEMS: Final[Responses] = problems(
    s400="A field is wrong or not offered (`error.param` names it), or the engine refuses it.",
    s401="The api key is missing or wrong.",
    s403="The api key lacks the scope, or is of another tenant.",
    s404="The model is not the one served here.",
    s409="A job was cancelled, or its deadline has passed.",
    s413="The body is too large.",
    s415="The body is not declared as JSON.",
    s422="The `Idempotency-Key` was used before, for another request.",
    s429="The queue is full; come back after `Retry-After`.",
    s500="A job failed; the message begins with its code.",
    s503="The queue cannot be reached, or this api is being stopped.",
    s504="A job has not ended yet, and goes on.",
)

_EVENT: Final = {
    "type": "object", "required": ["data"],
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "description": "Each event; its data are JSON, or `[DONE]` at the end.",
}  # fmt: skip


def described(request: type[msgspec.Struct]) -> dict[str, Any]:
    """Body and headers of a route that completes prompts."""
    parameters = [
        *queue_parameters(), prefer_parameter(), cancel_after_parameter(),
        idempotency_key_parameter(),
    ]  # fmt: skip
    return {"requestBody": body_of(request), "parameters": parameters}


def streamed(response: dict[str, Any]) -> dict[str, Any]:
    """A response that comes as events, too, if `stream` is set."""
    return {**response, "content": {**response["content"], MEDIA_TYPE: {"schema": _EVENT}}}

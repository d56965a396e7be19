"""How the routes of responses are described."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from preble_api.openai.operations import COMPLETES, PROBLEMS, described, streamed
from preble_api.openai.response_schemas import Response, ResponseDeleted, ResponseRequest
from preble_api.openapi import (
    Responses,
    path_parameter,
    prefer_parameter,
    problems,
    query_parameters,
    response_of,
)

_SEQUENCE_NUMBER: Final = Meta(
    ge=-1, le=2**53 - 1, description="`sequence_number` of the last event that came; -1 for none."
)


class RetrieveQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a response is to be shown."""

    stream: Annotated[bool, Meta(description="As the events of its stream.")] = False
    starting_after: Annotated[int, _SEQUENCE_NUMBER] = -1
    include: Annotated[
        Literal["message.output_text.logprobs"] | None,
        Meta(description="Without effect: they are told where they were asked for at first."),
    ] = msgspec.field(default=None, name="include[]")
    include_obfuscation: Annotated[bool, Meta(description="Without effect.")] = False


_AGAIN: Final = {"Retry-After": "Until the response has ended."}
_UNKNOWN: Final[Responses] = problems(
    s401="The api key is missing or wrong.",
    s403="The api key lacks the scope.",
    s404="No such response; or it has expired, or was not stored.",
    s503="The queue cannot be reached.",
)
_RESPONSE_ID: Final = path_parameter(
    "response_id", "Id of the response.", "^resp_[A-Za-z0-9_-]{1,59}$"
)

CREATE: Final[dict[str, Any]] = {
    "summary": "Answer an input, in OpenAI's format, at once or in the background",
    "description": COMPLETES
    + " With `background` it is answered at once; fetch the response, or its stream, later.",
    "openapi_extra": described(ResponseRequest),
    "responses": {
        200: streamed(response_of("The response.", Response, **_AGAIN)),
        202: response_of("Not ended yet, as preferred.", Response, Location="Where it is found."),
        **PROBLEMS,
    },
}

RETRIEVE: Final[dict[str, Any]] = {
    "summary": "A response as it stands, or its stream from any event on",
    "description": "Known to every api process, and kept as long as the result of its job.",
    "openapi_extra": {
        "parameters": [_RESPONSE_ID, *query_parameters(RetrieveQuery), prefer_parameter()]
    },
    "responses": {
        200: streamed(response_of("The response.", Response, **_AGAIN)),
        **problems(
            s400="A parameter is wrong; `error.param` names it.",
            s409="The job says something else now than what was streamed before.",
        ),
        **_UNKNOWN,
    },
}

CANCEL: Final[dict[str, Any]] = {
    "summary": "End a response that nobody needs any more",
    "description": "Wherever its job stands. One that has ended stays as it is.",
    "openapi_extra": {"parameters": [_RESPONSE_ID]},
    "responses": {200: response_of("The response, which has ended.", Response), **_UNKNOWN},
}

DELETE: Final[dict[str, Any]] = {
    "summary": "Forget a response, and end it",
    "description": "Its job, which has ended then, is still found at `/v1/jobs`.",
    "openapi_extra": {"parameters": [_RESPONSE_ID]},
    "responses": {200: response_of("It is no more.", ResponseDeleted), **_UNKNOWN},
}

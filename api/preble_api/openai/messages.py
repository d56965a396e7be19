"""Turns of a conversation, as chats and responses send them, into the queue's messages."""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta

from preble.errors import InvalidJob
from preble_api.openai.fields import Ignored, NotOffered, require_offered
from preble_api.schemas import ChatMessage, TextPart

Role = Literal["system", "developer", "user", "assistant"]

_SYSTEM: Final = "system"
_MOST_PARTS: Final = 1024


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of text, as both routes call it; other kinds are refused."""

    type: Literal["text", "input_text", "output_text"]
    text: str
    annotations: Ignored = UNSET
    logprobs: Ignored = UNSET
    # What other kinds carry.
    image_url: NotOffered = UNSET
    input_audio: NotOffered = UNSET
    file: NotOffered = UNSET


Content = str | Annotated[list[Part], Meta(min_length=1, max_length=_MOST_PARTS)]


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn of a conversation; an answer of ours may be sent back as it is."""

    role: Annotated[Role, Meta(description="The template sees `developer` as `system`.")]
    content: Content | None = None
    type: Literal["message"] = "message"
    id: Ignored = UNSET
    status: Ignored = UNSET
    phase: Ignored = UNSET
    annotations: Ignored = UNSET
    name: NotOffered = UNSET
    refusal: NotOffered = UNSET
    audio: NotOffered = UNSET
    function_call: NotOffered = UNSET
    tool_calls: NotOffered = UNSET
    tool_call_id: NotOffered = UNSET
    reasoning_content: NotOffered = UNSET


def chat_of(turns: Iterable[Turn], field: str) -> list[ChatMessage]:
    """The conversation, as the queue takes it.

    Args:
        turns: As they were sent.
        field: Where they stand in the body.

    Raises:
        HttpError: If one has what is not offered, naming it.
        InvalidJob: If one has no content.
    """
    return [_message(turn, f"{field}[{number}].") for number, turn in enumerate(turns)]


def system_message(text: str) -> ChatMessage:
    """Instructions, as the first turn."""
    return ChatMessage(_SYSTEM, text)


def _message(turn: Turn, place: str) -> ChatMessage:
    require_offered(turn, place)
    role = _SYSTEM if turn.role == "developer" else turn.role
    if turn.content is None:
        raise InvalidJob(place + "content", "is required")
    if isinstance(turn.content, str):
        return ChatMessage(role, turn.content)
    for number, part in enumerate(turn.content):
        require_offered(part, f"{place}content[{number}].")
    return ChatMessage(role, [TextPart("text", part.text) for part in turn.content])

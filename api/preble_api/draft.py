"""A job request on its way through the intake: whose it is, how large, how its errors are named."""

from dataclasses import dataclass, field
from typing import Final

from preble.errors import InvalidJob, PromptTooLong
from preble.tracing import traceparent
from preble_api.principal import Principal
from preble_api.schemas import ChatMessage, JobRequest

PART_CHARS: Final = 32
"""As which a message counts beside its text, and each part of one: it costs that much to render,
and takes a token at least."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A job request on its way, who asks, and its place in its list, such as `jobs[3].`."""

    request: JobRequest
    principal: Principal
    place: str = ""
    traceparent: str = field(default_factory=traceparent.get)
    """Of the HTTP request, read here: the rest may be done on a thread."""

    @property
    def tenant(self) -> str:
        """Whose job it is. Raises: HttpError if the request may not say so."""
        return self.principal.tenant_for(self.request.tenant, field=self.place + "tenant")

    @property
    def cache_salt(self) -> str:
        """Under which its prompt is cached."""
        return self.principal.cache_salt(self.request.cache_salt)

    @property
    def field(self) -> str:
        """Name of the field that holds the prompt."""
        if self.request.prompt is not None:
            return "prompt"
        return "messages" if self.request.messages is not None else "input_ids"

    @property
    def chars(self) -> int:
        """Characters of text, with those as which messages count; 0 for token ids."""
        if self.request.prompt is not None:
            return len(self.request.prompt)
        return sum(_message_chars(each) for each in self.request.messages or ())

    def invalid(self, message: str) -> InvalidJob:
        """The error that the prompt is wrong."""
        return InvalidJob(self.place + self.field, message)

    def too_long(self, message: str) -> PromptTooLong:
        """The error that the prompt is too long."""
        return PromptTooLong(self.place + self.field, message)


def _message_chars(message: ChatMessage) -> int:
    content, around = message.content, PART_CHARS + len(message.role)
    if isinstance(content, str):
        return around + len(content)
    return around + sum(PART_CHARS + len(part.text) for part in content)

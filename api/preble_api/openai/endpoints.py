"""The routes that complete prompts, by path: for themselves and for batches."""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from preble.errors import InvalidJob
from preble.messages import JobView
from preble.tokenizer import TokenTexts
from preble_api.openai.asked import Asked
from preble_api.openai.chat import ChatEndpoint
from preble_api.openai.completions import CompletionEndpoint
from preble_api.openai.responses import ResponseEndpoint


class Endpoint(Protocol):
    """One route's dialect: bodies in, answers out; no I/O."""

    def parse(self, body: bytes) -> Asked:
        """What a body asks for.

        Raises:
            InvalidJob: If a field is wrong, naming it.
            HttpError: If the body is not JSON, or asks for what is not offered, naming it.
        """
        ...

    def reply(self, asked: Asked, *views: JobView, token_texts: TokenTexts) -> msgspec.Struct:
        """The body of the answer, once the jobs of a request have ended.

        Args:
            asked: The request.
            views: Its jobs, in the order of the choices.
            token_texts: Of the pool's tokenizer.

        Raises:
            HttpError: If one of them did not complete.
        """
        ...

    def in_its_names(self, error: InvalidJob) -> InvalidJob:
        """The same error, of the field as it is called here."""
        ...


ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "/v1/chat/completions": ChatEndpoint(),
    "/v1/completions": CompletionEndpoint(),
    "/v1/responses": ResponseEndpoint(),
}

"""Chunks of the streams of chats and completions: what both have in common.

    opening(0)   more(0, "The")   more(0, " cat")   closing(0, "stop")   usage   [DONE]

With several prompts the chunks of their choices come mixed, each with its index.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from preble.tokenizer import TokenTexts
from preble_api.openai.asked import Asked
from preble_api.openai.results import CompletionUsage
from preble_api.transcript import Piece


class Chunks(ABC):
    """Makes the chunks of one stream.

    Args:
        asked: Its request.
        answer_id: Of the answer.
        created_s: Unix seconds.
        token_texts: Of the pool's tokenizer.
    """

    object: ClassVar[str]

    def __init__(
        self, asked: Asked, answer_id: str, created_s: int, token_texts: TokenTexts
    ) -> None:
        self.token_texts = token_texts
        self._frame = {
            "id": answer_id, "object": self.object, "created": created_s,
            "model": asked.echo.model,
        }  # fmt: skip
        # A client that asked for the usage finds the field, null, in each chunk before.
        self._no_usage = {"usage": None} if asked.has_usage else {}

    @abstractmethod
    def opening(self, index: int) -> dict[str, Any] | None:
        """The choice before its text; None for nothing."""

    @abstractmethod
    def more(self, index: int, piece: Piece) -> dict[str, Any]:
        """The choice with more of its text, or of its tokens if they have logprobs."""

    @abstractmethod
    def closing(self, index: int, finish_reason: str) -> dict[str, Any]:
        """The choice at its end."""

    def chunk(self, choice: dict[str, Any], usage: CompletionUsage | None = None) -> dict[str, Any]:
        """A chunk of one choice, with the usage so far or without."""
        told = {"usage": usage} if usage else self._no_usage
        return {**self._frame, "choices": [choice], **told}

    def last(self, usage: CompletionUsage) -> dict[str, Any]:
        """The chunk after all choices, with the usage of all."""
        return {**self._frame, "choices": [], "usage": usage}

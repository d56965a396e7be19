r"""Logprobs as OpenAI's clients know them: of chats, and the older form of completions.

A token that is no whole character has its bytes in the place of its text, as OpenAI writes them:
`\xe4\xbd` in a chat, `bytes:\xe4\xbd` in a completion.
"""

from codecs import getincrementaldecoder
from typing import Annotated

import msgspec
from msgspec import Meta

from preble.messages import JobResult, TokenLogprob
from preble.tokenizer import TokenText, TokenTexts
from preble_api.logprobs import each_token
from preble_api.transcript import Piece


class LikelyText(msgspec.Struct, frozen=True):
    """A token that was likely in a place of a chat's answer."""

    token: Annotated[str, Meta(description="Its text, or its bytes if it is no whole character.")]
    logprob: float
    bytes: Annotated[list[int] | None, Meta(description="Null if they are not known.")]


class ChatLogprob(msgspec.Struct, frozen=True):
    """A token of a chat's answer."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: Annotated[list[LikelyText], Meta(description="As many as asked.")]


class ChatLogprobs(msgspec.Struct, frozen=True):
    """How likely the tokens of a chat's answer were."""

    content: list[ChatLogprob]
    refusal: None = None


class CompletionLogprobs(msgspec.Struct, frozen=True):
    """How likely the tokens of a completion were: lists of one length."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: Annotated[
        list[dict[str, float]], Meta(description="As many as asked, and the token itself.")
    ]
    text_offset: Annotated[list[int], Meta(description="Characters of the output before each.")]


def chat_logprobs(told: JobResult | Piece, token_texts: TokenTexts) -> ChatLogprobs:
    """How likely the tokens of a chat's answer were, or those of a piece of it."""
    return ChatLogprobs([_of_chat(*each, token_texts) for each in each_token(told)])


class CompletionTokens:
    """Tells the tokens of one completion, a piece after the other.

    Args:
        token_texts: Of the pool's tokenizer.
    """

    def __init__(self, token_texts: TokenTexts) -> None:
        self._token_texts = token_texts
        # Characters may begin in one piece and end in the next.
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._chars = 0

    def of(self, told: JobResult | Piece) -> CompletionLogprobs:
        """How likely these tokens were, which follow those before."""
        made = CompletionLogprobs([], [], [], [])
        for token_id, each in each_token(told):
            made.tokens.append(self._name(token_id))
            made.token_logprobs.append(each.logprob)
            made.top_logprobs.append(self._top(token_id, each))
            made.text_offset.append(self._chars)
            self._chars += self._num_chars(self._token_texts.of(token_id))
        return made

    def _top(self, token_id: int, logprob: TokenLogprob) -> dict[str, float]:
        """By text; of two tokens with the same one the likelier."""
        named: dict[str, float] = {}
        for likely_id, likely in (*logprob.top, (token_id, logprob.logprob)):
            named.setdefault(self._name(likely_id), likely)
        return named

    def _name(self, token_id: int) -> str:
        token = self._token_texts.of(token_id)
        return f"bytes:{_named(token)}" if _is_part(token) else token.text

    def _num_chars(self, token: TokenText) -> int:
        """Characters that end with a token."""
        if token.is_special:
            return 0
        return len(self._decoder.decode(token.bytes or token.text.encode()))


def _of_chat(token_id: int, logprob: TokenLogprob, token_texts: TokenTexts) -> ChatLogprob:
    itself = _likely(token_texts.of(token_id), logprob.logprob)
    top = [_likely(token_texts.of(likely_id), likely) for likely_id, likely in logprob.top]
    return ChatLogprob(itself.token, itself.logprob, itself.bytes, top)


def _likely(token: TokenText, logprob: float) -> LikelyText:
    return LikelyText(_named(token), logprob, None if token.bytes is None else list(token.bytes))


def _is_part(token: TokenText) -> bool:
    """Whether a token is known to be no whole characters."""
    return token.bytes not in {None, token.text.encode()}


def _named(token: TokenText) -> str:
    """Its text, with its bytes where they are no character."""
    return token.text if token.bytes is None else token.bytes.decode(errors="backslashreplace")

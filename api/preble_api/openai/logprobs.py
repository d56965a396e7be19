r"""Logprobs as OpenAI's clients know them: of chats and responses, and completions' older form.

A token that is no whole character has its bytes in the place of its text, as OpenAI writes them:
`\xe4\xbd` in a chat or response, `bytes:\xe4\xbd` in a completion.
"""

from codecs import getincrementaldecoder
from collections import deque
from itertools import zip_longest
from typing import Annotated

import msgspec
from msgspec import Meta

from preble.messages import JobResult, TokenLogprob
from preble.tokenizer import TokenText, TokenTexts
from preble_api.logprobs import each_token
from preble_api.transcript import Piece


class LikelyText(msgspec.Struct, frozen=True):
    """A token that was likely in a place of an answer."""

    token: Annotated[str, Meta(description="Its text, or its bytes if it is no whole character.")]
    logprob: float
    bytes: Annotated[list[int] | None, Meta(description="Null if they are not known.")]


class AnswerLogprob(msgspec.Struct, frozen=True):
    """A token of a chat's answer, or of a response's."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: Annotated[list[LikelyText], Meta(description="As many as asked.")]


class ChatLogprobs(msgspec.Struct, frozen=True):
    """How likely the tokens of a chat's answer were."""

    content: list[AnswerLogprob]
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
    return ChatLogprobs(answer_logprobs(told, token_texts))


def answer_logprobs(told: JobResult | Piece, token_texts: TokenTexts) -> list[AnswerLogprob]:
    """How likely the tokens of an answer were, or those of a piece of it."""
    return [_of_answer(*each, token_texts) for each in each_token(told)]


class CompletionTokens:
    """Tells the tokens of one completion, a piece after the other.

    Args:
        token_texts: Of the pool's tokenizer.
    """

    def __init__(self, token_texts: TokenTexts) -> None:
        self._token_texts = token_texts
        self._counted = CountedChars(token_texts)

    def of(self, told: JobResult | Piece) -> CompletionLogprobs:
        """How likely these tokens were, which follow those before."""
        made = CompletionLogprobs([], [], [], [])
        for token_id, each in each_token(told):
            made.tokens.append(self._name(token_id))
            made.token_logprobs.append(each.logprob)
            made.top_logprobs.append(self._top(token_id, each))
            made.text_offset.append(self._counted.chars)
            self._counted.add(token_id)
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


class PlacedLogprobs:
    r"""Tells the tokens of one response, each with the character that it ends or is a part of.

    So what is told with which part of the text follows from the output alone, however it is cut:

        tokens      na   \xc3   \xaf   ve   (its end)
        characters   2      3      3    5           6

    Args:
        token_texts: Of the pool's tokenizer.
    """

    def __init__(self, token_texts: TokenTexts) -> None:
        self._token_texts = token_texts
        self._counted = CountedChars(token_texts)
        self._waiting: deque[tuple[int, AnswerLogprob]] = deque()

    def add(self, piece: Piece) -> None:
        """More of the output. Those of its tokens that have no logprobs are counted only."""
        for token_id, logprob in zip_longest(piece.output_ids, piece.logprobs):
            before = self._counted.chars
            self._counted.add(token_id)
            if logprob is not None:
                place = max(self._counted.chars, before + 1)
                told = _of_answer(token_id, logprob, self._token_texts)
                self._waiting.append((place, told))

    def take(self, chars: int) -> list[AnswerLogprob]:
        """Those that come with the first so many characters, each once."""
        taken: list[AnswerLogprob] = []
        while self._waiting and self._waiting[0][0] <= chars:
            taken.append(self._waiting.popleft()[1])
        return taken


class CountedChars:
    """How many characters the tokens of an output make, one token after the other.

    Args:
        token_texts: Of the pool's tokenizer.
    """

    def __init__(self, token_texts: TokenTexts) -> None:
        self._token_texts = token_texts
        # Characters may begin in one token and end in the next.
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self.chars = 0

    def add(self, token_id: int) -> None:
        """The output goes on with this token."""
        token = self._token_texts.of(token_id)
        if not token.is_special:
            self.chars += len(self._decoder.decode(token.bytes or token.text.encode()))


def _of_answer(token_id: int, logprob: TokenLogprob, token_texts: TokenTexts) -> AnswerLogprob:
    itself = _likely(token_texts.of(token_id), logprob.logprob)
    top = [_likely(token_texts.of(likely_id), likely) for likely_id, likely in logprob.top]
    return AnswerLogprob(itself.token, itself.logprob, itself.bytes, top)


def _likely(token: TokenText, logprob: float) -> LikelyText:
    return LikelyText(_named(token), logprob, None if token.bytes is None else list(token.bytes))


def _is_part(token: TokenText) -> bool:
    """Whether a token is known to be no whole characters."""
    return token.bytes not in {None, token.text.encode()}


def _named(token: TokenText) -> str:
    """Its text, with its bytes where they are no character."""
    return token.text if token.bytes is None else token.bytes.decode(errors="backslashreplace")

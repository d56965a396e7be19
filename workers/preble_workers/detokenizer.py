"""Text of tokens as they come: what is settled, at once, and no character of it ever again.

A token may end in the middle of a character, and what decodes a token may depend on the one
before it. So a window of the last tokens is decoded, and what it says beyond what was said
before is new, but for a last replacement character: its bytes may not all be there.
"""

from collections.abc import Callable, Sequence
from typing import Final

Decode = Callable[[Sequence[int]], str]

_REPLACEMENT: Final = "\ufffd"
_WINDOW_TOKENS: Final = 16
"""Beyond as many the window is cut, at the last place where a character ended."""

_LONGEST_WINDOW_TOKENS: Final = 32
"""Beyond as many it is cut though no character ended: that is no text, but bytes."""

_CHARACTER_BYTES: Final = 4
"""Most of one; those of different sides of a cut at most so far apart are looked at together."""


_MOST_CUTS: Final = 16


class Detokenizer:
    """Decodes one output, token by token.

    Args:
        decode: Text of token ids; each byte that is in no character must become at least one
            replacement character, but those of an unfinished one may become one together.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._said_chars = 0
        """Of the text of the window."""
        self._ended_at = 0
        """Tokens of the window up to the last end of a character."""

    def add(self, ids: Sequence[int]) -> str:
        """The next tokens. All that is returned, joined, begins the text of all tokens.

        Cost: that of decoding the new tokens and about 16 more.
        """
        self._window += ids
        text = self._decode(self._window)
        settled = text.removesuffix(_REPLACEMENT)
        new = settled[self._said_chars :]
        self._said_chars = max(self._said_chars, len(settled))
        if len(settled) == len(text):
            self._end_character(text)
        elif len(self._window) > _LONGEST_WINDOW_TOKENS:
            self._cut_bytes(text)
        return new

    def _end_character(self, text: str) -> None:
        """The tokens since the last end are kept, for those that follow may depend on them."""
        if len(self._window) > _WINDOW_TOKENS:
            self._window = self._window[self._ended_at :]
            self._said_chars = len(text if not self._ended_at else self._decode(self._window))
        self._ended_at = len(self._window)

    def _cut_bytes(self, text: str) -> None:
        """Drop the first tokens, where both sides say for themselves what they say together.

        If so much follows the cut that no character can reach over it, that stays so.
        """
        last = len(self._window) - _CHARACTER_BYTES
        for cut in range(last, max(0, last - _MOST_CUTS), -1):
            before, after = self._decode(self._window[:cut]), self._decode(self._window[cut:])
            if len(after) >= _CHARACTER_BYTES and before + after == text:
                self._window = self._window[cut:]
                self._said_chars -= len(before)
                self._ended_at = 0
                return

"""Tokens of texts that begin as earlier ones did, without tokenizing them again.

A text is cut where its pieces' tokens are certainly the text's own (`cuts.py`), and the tokens of
each whole piece are kept, the latest used up to a number of bytes. So a document that a hundred
prompts begin with is tokenized once: 40 KB of text take 40 microseconds instead of 10,000. The
last piece, where prompts differ, is not kept.
"""

import sys
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Final, NamedTuple

from preble.messages import Tokens, pack_tokens
from preble.tokenizer.cuts import pieces
from preble.tokenizer.tokenizer import Tokenizer

_ENTRY_BYTES: Final = 200
"""Of an entry beside its text and its tokens."""


class TextTokens(NamedTuple):
    """Tokens of a text, and of how many of its characters they were known, and were not."""

    tokens: Tokens
    known_chars: int
    new_chars: int


class _Key(NamedTuple):
    salt: str
    piece: str


class TextCache:
    """A tokenizer that remembers. Safe to use from several threads at once.

    Args:
        tokenizer: Does the work.
        most_bytes: Of what is kept; 0 keeps nothing.
    """

    def __init__(self, tokenizer: Tokenizer, most_bytes: int) -> None:
        self._tokenizer = tokenizer
        self._most_bytes = most_bytes if tokenizer.may_cut else 0
        self._bytes = 0
        self._known: OrderedDict[_Key, Tokens] = OrderedDict()
        self._lock = Lock()

    def encode(self, text: str, *, salt: str, add_special_tokens: bool = True) -> TextTokens:
        """Token ids of a text: exactly those that `Tokenizer.encode` gives.

        Args:
            text: A prompt as the user wrote it, or a rendered chat.
            salt: Texts of another salt are not known: the time this takes tells nothing of them.
            add_special_tokens: As `Tokenizer.encode`.

        Cost: 1 microsecond for each 1,000 characters that are known, 250 for others.
        """
        if not self._most_bytes:
            [ids] = self._tokenizer.encode([text], add_special_tokens=add_special_tokens)
            return TextTokens(pack_tokens(ids), 0, len(text))
        *whole, last = pieces(text)
        keys = [_Key(salt, piece) for piece in whole]
        known = self._find(keys)
        new = [key for key, tokens in zip(keys, known, strict=True) if tokens is None]
        texts = [*(key.piece for key in new), last]
        encoded = self._tokenizer.encode(texts, add_special_tokens=False)
        *fresh, end = map(pack_tokens, encoded)
        self._keep(new, fresh)
        rest = iter(fresh)
        found = [next(rest) if tokens is None else tokens for tokens in known]
        before, after = self._tokenizer.around if add_special_tokens else (b"", b"")
        new_chars = len(last) + sum(len(key.piece) for key in new)
        tokens = Tokens(b"".join((before, *found, end, after)))
        return TextTokens(tokens, len(text) - new_chars, new_chars)

    def _find(self, keys: Sequence[_Key]) -> list[Tokens | None]:
        with self._lock:
            found = [self._known.get(key) for key in keys]
            for key, tokens in zip(keys, found, strict=True):
                if tokens is not None:
                    self._known.move_to_end(key)
        return found

    def _keep(self, keys: Sequence[_Key], tokens: Sequence[Tokens]) -> None:
        with self._lock:
            for key, each in zip(keys, tokens, strict=True):
                # Another thread may have been at the same text.
                if key not in self._known:
                    self._known[key] = each
                    self._bytes += _size_bytes(key, each)
            while self._bytes > self._most_bytes:
                self._bytes -= _size_bytes(*self._known.popitem(last=False))


def _size_bytes(key: _Key, tokens: Tokens) -> int:
    return sys.getsizeof(key.piece) + len(key.salt) + len(tokens) + _ENTRY_BYTES

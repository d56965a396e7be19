"""What single tokens stand for: their bytes, and the text of those.

    vocabulary ─ token ─▶ added?        its content
                          ByteLevel     each sign is a byte, in GPT-2's table
                          ByteFallback  `<0xE4>` is a byte, `▁` a space
                          else          what the tokenizer makes of it alone

A token may be part of a character only, so its bytes are the truth and its text a help for people.
"""

import re
from functools import lru_cache
from itertools import count
from typing import Final, NamedTuple

import msgspec
import tokenizers

MOST_KEPT: Final = 65_536
"""Tokens whose texts are remembered: about 16 MB, and all that a text of any kind uses."""

_BYTE: Final = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE: Final = "\u2581"
_UNKNOWN: Final = "\ufffd"
_PRINTABLE: Final = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))


class TokenText(NamedTuple):
    """What one token stands for."""

    text: str
    """With U+FFFD in the place of bytes that are no whole character."""
    bytes: bytes | None
    """None if they cannot be known."""
    is_special: bool = False
    """Whether an output leaves it out, as the sign of its end."""


class _Decoder(msgspec.Struct, frozen=True):
    """The decoder of a tokenizer.json, or a sequence of them."""

    type: str = ""
    decoders: "tuple[_Decoder, ...]" = ()


class TokenTexts:
    """The texts of a tokenizer's tokens. Safe to use from several threads at once.

    Args:
        core: The tokenizer.
    """

    def __init__(self, core: tokenizers.Tokenizer) -> None:
        self._core = core
        self._added = core.get_added_tokens_decoder()
        kinds = _kinds(core)
        self._is_byte_level = "ByteLevel" in kinds
        self._has_byte_tokens = "ByteFallback" in kinds
        self.of = lru_cache(MOST_KEPT)(self._made)
        """What a token id stands for."""

    def _made(self, token_id: int) -> TokenText:
        if added := self._added.get(token_id):
            return TokenText(added.content, added.content.encode(), added.special)
        token = self._core.id_to_token(token_id)
        if token is None:
            return TokenText("", None)
        found = self._bytes_of(token)
        if found is not None:
            return TokenText(found.decode(errors="replace"), found)
        text = self._core.decode([token_id], skip_special_tokens=False)
        return TokenText(text, None if _UNKNOWN in text else text.encode())

    def _bytes_of(self, token: str) -> bytes | None:
        """None if the tokenizer is of neither kind."""
        if self._is_byte_level:
            return b"".join(_BYTES.get(sign) or sign.encode() for sign in token)
        if not self._has_byte_tokens:
            return None
        if byte := _BYTE.fullmatch(token):
            return bytes.fromhex(byte[1])
        return token.replace(_SPACE, " ").encode()


def _kinds(core: tokenizers.Tokenizer) -> frozenset[str]:
    if core.decoder is None:
        return frozenset()
    decoder = msgspec.json.decode(core.decoder.__getstate__(), type=_Decoder)
    return frozenset(each.type for each in (decoder, *decoder.decoders))


def _gpt2_table() -> dict[str, bytes]:
    """As which sign GPT-2's tokenizer writes each byte: itself if printable, else one above."""
    above = count(0x100)
    return {
        chr(byte if byte in _PRINTABLE else next(above)): bytes([byte]) for byte in range(0x100)
    }


_BYTES: Final = _gpt2_table()

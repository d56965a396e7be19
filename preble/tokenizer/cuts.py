r"""Where a text may be cut so that its pieces' tokens, one after another, are the text's tokens.

A tokenizer first splits a text into words, then merges bytes within each. So a cut between two
words is safe if the split there depends on nothing beyond it. That is shown for one place only,
between a letter and the space before the next word (`of| the`), and for tokenizers whose every
part is known not to look across it; any other tokenizer gives no cuts at all.

A part of a pattern that splits words is harmless there if it cannot match a letter and then a
space, and if it does not look ahead from a letter. A pattern is as harmless as all its
alternatives, so those are what is known here: they are the ones of GPT-2, cl100k, Llama 3,
Qwen, o200k, Tekken and DeepSeek.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

PIECE_CHARS: Final = 1_024
"""Fewest characters of a piece: a quarter of a millisecond of the tokenizer's work."""

_CUT: Final = re.compile(r"[A-Za-z](?= [A-Za-z])")
_UNSAFE_TOKEN: Final = re.compile(r"^[A-Za-z]|[A-Za-z] [A-Za-z]|[A-Za-z]$")

_WORDS: Final = frozenset({
    r" ?\p{L}+",
    r"[^\r\n\p{L}\p{N}]?\p{L}+",
    r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
    *(
        rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]{many}"
        rf"[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]{more}{ending}"
        for many, more in (("*", "+"), ("+", "*"))
        for ending in ("", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?")
    ),
})  # fmt: skip
"""Alternatives that match a run of letters: with one of these, every such place is a split."""

_HARMLESS: Final = _WORDS | {
    "'s", "'t", "'re", "'ve", "'m", "'ll", "'d",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    "(?i:[sdmt]|ll|ve|re)",
    r" ?\p{N}+", r"\p{N}", r"\p{N}{1,3}", r"\p{N}{1}",
    r" ?[^\s\p{L}\p{N}]+", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*", r" ?[\p{P}\p{S}]+[\r\n]*",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+""",
    r"\s*[\r\n]+", r"\s*[\r\n]", r"\s+(?!\S)", r"\s+",
}  # fmt: skip
"""Alternatives that no place for a cut is within, and that do not look across one."""


class _Pattern(msgspec.Struct, frozen=True):
    regex: str = msgspec.field(default="", name="Regex")


class _Part(msgspec.Struct, frozen=True):
    """A normalizer or a pre-tokenizer, or a sequence of them."""

    type: str
    normalizers: "tuple[_Part, ...]" = ()
    pretokenizers: "tuple[_Part, ...]" = ()
    pattern: _Pattern = _Pattern()
    behavior: str = ""
    use_regex: bool = True


class _Token(msgspec.Struct, frozen=True):
    content: str


class _Model(msgspec.Struct, frozen=True):
    type: str = ""
    dropout: float | None = None


class _Definition(msgspec.Struct, frozen=True):
    """What is read of tokenizer.json."""

    model: _Model
    added_tokens: tuple[_Token, ...] = ()
    normalizer: _Part | None = None
    pre_tokenizer: _Part | None = None


def may_cut(definition: bytes) -> bool:
    """Whether `pieces` is right for a tokenizer: it is not for one with an unknown part.

    Args:
        definition: Its tokenizer.json.
    """
    try:
        parts = msgspec.json.decode(definition, type=_Definition)
    except msgspec.DecodeError:
        return False
    return (
        parts.model.type == "BPE"
        and not parts.model.dropout
        and not any(_UNSAFE_TOKEN.search(each.content) for each in parts.added_tokens)
        and all(part.type in {"NFC", "NFKC"} for part in _flat(parts.normalizer))
        and _splits_words(_flat(parts.pre_tokenizer))
    )


def pieces(text: str) -> list[str]:
    """A text in order, cut at the first safe place after every PIECE_CHARS; at least one piece.

    Texts that begin alike are cut alike, but for the last piece that they share.
    """
    found: list[str] = []
    begin = 0
    while cut := _CUT.search(text, begin + PIECE_CHARS):
        found.append(text[begin : cut.end()])
        begin = cut.end()
    found.append(text[begin:])
    return found


def _splits_words(parts: Sequence[_Part]) -> bool:
    """Whether every part is harmless, and one splits before each space that a word follows."""
    alternatives = [each for part in parts for each in _alternatives_of(part)]
    return _HARMLESS.issuperset(alternatives) and not _WORDS.isdisjoint(alternatives)


def _alternatives_of(part: _Part) -> list[str]:
    """By which a part splits; an empty one, which is not harmless, if that is not known."""
    match part.type:
        case "Split" if part.behavior in {"Isolated", "Removed"}:
            pattern = part.pattern.regex.replace("\r", r"\r").replace("\n", r"\n")
            return list(_alternatives(pattern))
        case "ByteLevel":
            # Its own pattern is GPT-2's; it splits by none if told so.
            return [r" ?\p{L}+"] if part.use_regex else []
        case "Digits":
            return [r"\p{N}"]
        case _:
            return [""]


def _flat(part: _Part | None) -> list[_Part]:
    if part is None:
        return []
    if part.type != "Sequence":
        return [part]
    return [leaf for each in (*part.normalizers, *part.pretokenizers) for leaf in _flat(each)]


def _alternatives(pattern: str) -> Iterator[str]:
    """A pattern cut at each `|` that stands in no bracket."""
    begin = depth = 0
    is_class = False
    for at in _unescaped(pattern):
        sign = pattern[at]
        if is_class:
            is_class = sign != "]"
        elif sign == "[":
            is_class = True
        elif sign in "()":
            depth += 1 if sign == "(" else -1
        elif sign == "|" and not depth:
            yield pattern[begin:at]
            begin = at + 1
    yield pattern[begin:]


def _unescaped(pattern: str) -> Iterator[int]:
    """Where a sign stands that no backslash precedes."""
    at = 0
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 2
            continue
        yield at
        at += 1

"""Remembered tokens are exactly the tokenizer's own, whatever the text and the tokenizer."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors, trainers

from preble.messages import pack_tokens
from preble.tokenizer import ChatTemplate, TextCache, Tokenizer
from preble.tokenizer.cuts import PIECE_CHARS, may_cut, pieces

LLAMA_3: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K: Final = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK: Final = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
    "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def _split(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _trained(pre_tokenizer: pre_tokenizers.PreTokenizer, *, nfc: bool = False) -> Tokenizer:
    """A tokenizer that learned merges from this repository's own words."""
    core = tokenizers.Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizer
    if nfc:
        core.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=1_500, special_tokens=["<s>", "<|end|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    core.train_from_iterator([Path(__file__).read_text("utf-8")], trainer)
    core.post_processor = processors.TemplateProcessing(
        "<s> $A <|end|>", special_tokens=[("<s>", 0), ("<|end|>", 1)]
    )
    return Tokenizer(core, ChatTemplate("", {}), "f")


TOKENIZERS: Final = {
    "gpt2": _trained(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "gpt2 with a space first": _trained(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "digits": _trained(
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    ),
    "llama3": _trained(_split(LLAMA_3)),
    "qwen": _trained(_split(LLAMA_3.replace("{1,3}", "")), nfc=True),
    "o200k": _trained(_split(O200K)),
    "deepseek": _trained(
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), behavior="isolated"),
                pre_tokenizers.Split(
                    Regex("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), "isolated"
                ),
                pre_tokenizers.Split(Regex(DEEPSEEK), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    ),
}

WORDS: Final = st.sampled_from([
    "cache", "the", "Prefix", "A", "o", "it's", "WE'LL", "3", "12345", "x1", "e\u0301t",
    "na\u00efve", "\u4f60\u597d", "\U0001f600",
    "<s>", "<|end|>", "snake_case", "a.b", "(x)", "--", "'s", "s",
])  # fmt: skip
SPACES: Final = st.sampled_from([" ", " ", " ", " ", "  ", "\n", "\n\n ", "\t", "\u00a0", "", ", "])
RUNS: Final = st.lists(st.tuples(WORDS, SPACES), min_size=1, max_size=40).map(
    lambda pairs: "".join(word + space for word, space in pairs)
)
TEXTS: Final = st.tuples(RUNS, st.integers(1, 60), st.text(max_size=30), RUNS).map(
    lambda parts: parts[0] * parts[1] + parts[2] + parts[3]
)
"""Some longer than a few pieces; most words of one follow each other by a space."""


@pytest.mark.parametrize("name", TOKENIZERS)
@given(head=TEXTS, tails=st.lists(TEXTS, min_size=1, max_size=3), salt=st.sampled_from(["", "x"]))
def test_tokens_are_the_tokenizers_own(name: str, head: str, tails: list[str], salt: str) -> None:
    tokenizer = TOKENIZERS[name]
    cache = TextCache(tokenizer, 100_000)
    assert tokenizer.may_cut
    for text in (head, *(head + tail for tail in tails), *tails):
        for add in (True, False):
            [ids] = tokenizer.encode([text], add_special_tokens=add)
            encoded = cache.encode(text, salt=salt, add_special_tokens=add)
            assert encoded.tokens == pack_tokens(ids)
            assert encoded.known_chars + encoded.new_chars == len(text)


@given(TEXTS)
def test_pieces_are_the_text(text: str) -> None:
    cut = pieces(text)
    assert "".join(cut) == text
    assert all(len(piece) > PIECE_CHARS for piece in cut[:-1])


def _definition(**parts: object) -> bytes:
    core: dict[str, Any] = json.loads(_gpt2_definition())
    return json.dumps(core | parts).encode()


def _gpt2_definition() -> str:
    core = tokenizers.Tokenizer(models.BPE({"a": 0}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel()
    return core.to_str()


@pytest.mark.parametrize(
    "parts",
    [
        {"model": {"type": "Unigram"}},
        {"model": {"type": "BPE", "dropout": 0.1}},
        {"normalizer": {"type": "Prepend", "prepend": "_"}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "Metaspace"}},
        {"pre_tokenizer": {"type": "ByteLevel", "use_regex": False}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "Isolated"}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a b"}, "behavior": "Isolated"}},
        {"pre_tokenizer": {
            "type": "Split", "pattern": {"Regex": r" ?\p{L}+"}, "behavior": "MergedWithNext"
        }},
        {"added_tokens": [{"content": "New York"}]},
        {"added_tokens": [{"content": "word"}]},
    ],
    ids=str,
)  # fmt: skip
def test_unknown_tokenizers_are_not_cut(parts: dict[str, object]) -> None:
    assert may_cut(_definition())
    assert not may_cut(_definition(**parts))


DOCUMENT: Final = "of every prompt that begins alike " * 300


def test_shared_beginning_is_known() -> None:
    cache = TextCache(TOKENIZERS["llama3"], 1_000_000)
    assert cache.encode(DOCUMENT + "One question", salt="").known_chars == 0
    assert cache.encode(DOCUMENT + "Another", salt="").new_chars < 2 * PIECE_CHARS


def test_another_salt_knows_nothing() -> None:
    cache = TextCache(TOKENIZERS["llama3"], 1_000_000)
    cache.encode(DOCUMENT, salt="one tenant")
    assert cache.encode(DOCUMENT, salt="another").known_chars == 0


def test_latest_used_is_kept() -> None:
    cache = TextCache(TOKENIZERS["llama3"], 40_000)
    cache.encode(DOCUMENT, salt="")
    for number in range(50):
        cache.encode(f"{number} " * 600 + DOCUMENT[:3_000], salt=str(number))
        assert cache.encode(DOCUMENT, salt="").known_chars
    assert not cache.encode(DOCUMENT[:3_000], salt="0").known_chars


def test_nothing_is_kept_if_told_so() -> None:
    cache = TextCache(TOKENIZERS["llama3"], 0)
    for _ in range(2):
        assert cache.encode(DOCUMENT, salt="").known_chars == 0
